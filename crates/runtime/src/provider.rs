//! Execution providers: what a model runs on.

use std::fmt;
use std::str::FromStr;

/// What a model runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Provider {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU, through CUDA.
    Cuda {
        /// Its number, counted from 0.
        device: u32,
    },
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda { device } => write!(f, "cuda:{device}"),
        }
    }
}

impl FromStr for Provider {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "cpu" => Some(Self::Cpu),
            None if text == "cuda" => Some(Self::Cuda { device: 0 }),
            Some(("cuda", device)) if device.bytes().all(|b| b.is_ascii_digit()) => {
                device.parse().ok().map(|device| Self::Cuda { device })
            }
            _ => None,
        }
        .ok_or_else(|| {
            format!(
                "unknown provider \"{text}\": expected \"cpu\", \"cuda\" or \"cuda:<device>\", for example \"cuda:1\""
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_read_back_as_it_is_written() {
        for (text, provider) in [
            ("cpu", Provider::Cpu),
            ("cuda:0", Provider::Cuda { device: 0 }),
            ("cuda:12", Provider::Cuda { device: 12 }),
        ] {
            assert_eq!(text.parse(), Ok(provider));
            assert_eq!(provider.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(Provider::Cuda { device: 0 }));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for text in ["", "CPU", "cpu:0", "cuda:", "cuda:-1", "cuda:+1", "cuda:99999999999", "tensorrt"] {
            assert!(text.parse::<Provider>().unwrap_err().contains(&format!("\"{text}\"")), "{text}");
        }
    }
}
