//! The `grpc-timeout` header.
//!
//! It is read here because the transport answers `CANCELLED` where a deadline passed, and the contract promises
//! `DEADLINE_EXCEEDED`.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use http::HeaderMap;
use tokio::time::Instant;

use crate::{config::Limits, status::CallError};

const HEADER: &str = "grpc-timeout";

/// Time that a call has: what its header asks for, at most the limit; the default where it asks for nothing.
pub(crate) fn budget(headers: &HeaderMap, limits: &Limits) -> Result<Duration, CallError> {
    let Some(value) = headers.get(HEADER) else { return Ok(limits.default_deadline()) };
    let asked = value.to_str().ok().and_then(parse).ok_or_else(|| {
        CallError::field(HEADER, format!("expected 1 to 8 digits and one of H, M, S, m, u, n, got {value:?}"))
    })?;
    Ok(asked.min(limits.max_deadline()))
}

/// Waits until `deadline`, and asks the clock besides the timer each time it is polled.
///
/// The transport has a timer for the same header, set a moment later, which it looks at when the call was polled and had no
/// answer. A handler may well have decoded a batch in between. Polled last, this sees every deadline that the transport sees.
pub(crate) async fn passed(deadline: Instant) {
    let mut timer = pin!(tokio::time::sleep_until(deadline));
    poll_fn(|cx| if Instant::now() >= deadline { Poll::Ready(()) } else { timer.as_mut().poll(cx) }).await;
}

/// `TimeoutValue TimeoutUnit` of the gRPC protocol over HTTP/2.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_unit_is_read() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("99999999m", Duration::from_millis(99_999_999)),
            ("5u", Duration::from_micros(5)),
            ("6n", Duration::from_nanos(6)),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "S", "1", "-1S", "+1S", "1.5S", "123456789S", "1s", "1µ", "µ"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_long_deadline_is_shortened_and_a_missing_one_is_the_default() {
        let limits = Config::default().limits;
        let mut headers = HeaderMap::new();
        assert_eq!(budget(&headers, &limits), Ok(limits.default_deadline()));
        headers.insert(HEADER, "99999999H".parse().unwrap());
        assert_eq!(budget(&headers, &limits), Ok(limits.max_deadline()));
        headers.insert(HEADER, "soon".parse().unwrap());
        assert!(budget(&headers, &limits).unwrap_err().to_string().starts_with("grpc-timeout: expected"));
    }
}
