//! Pictures of what the attacks did.

use std::fmt::{self, Write};

use assay_attack::Distance;

use super::markup::{Text, end, section};
use crate::event::{Example, Pictures};
use crate::report::Report;
use crate::report::text::Short;

pub(super) fn write(report: &Report, out: &mut dyn Write) -> fmt::Result {
    if report.examples.iter().all(|example| example.pictures.is_none()) {
        return Ok(());
    }
    let about = "Some correctly classified samples whose prediction an attack changed. The change is drawn around mid-grey and amplified.";
    section(out, "examples", "What the attacks did", about)?;
    writeln!(out, "<ul class=\"gallery\">")?;
    for example in &report.examples {
        if let Some(pictures) = &example.pictures {
            figure(report, example, pictures, out)?;
        }
    }
    writeln!(out, "</ul>")?;
    end(out)
}

fn figure(report: &Report, example: &Example, pictures: &Pictures, out: &mut dyn Write) -> fmt::Result {
    let clean = report.class_name(example.clean_prediction);
    let adversarial = report.class_name(example.adversarial_prediction);
    let sample = example.sample;
    let factor = format!("{:.1}", pictures.amplification);
    let shown = [
        (&pictures.original, format!("Sample {sample}, predicted {clean}"), "original", &clean),
        (&pictures.perturbation, format!("Change of sample {sample}, amplified {factor} times"), "change ×", &factor),
        (
            &pictures.adversarial,
            format!("Adversarial sample {sample}, predicted {adversarial}"),
            "adversarial",
            &adversarial,
        ),
    ];
    write!(out, "<li><figure><div class=\"triple\">")?;
    for (png, alt, caption, value) in shown {
        let (width, height, png, alt, value) = (pictures.width, pictures.height, Text(png), Text(&alt), Text(value));
        write!(
            out,
            "<span><img src=\"data:image/png;base64,{png}\" width=\"{width}\" height=\"{height}\" alt=\"{alt}\">\
             {caption} <b>{value}</b></span>"
        )?;
    }
    let Distance { linf, l2, l1, l0 } = example.distance;
    let [linf, l2, l1] = [linf, l2, l1].map(Short);
    let (model, threat) = (Text(report.model_title(example.model)), report.threat_title(example.threat));
    let attack = Text(report.attack_name(example.threat, example.attack));
    writeln!(
        out,
        "</div><figcaption>Sample {sample}, {model}, {attack} {}: distance {linf} in Linf, {l2} in L2, {l1} in L1, elements that differ {l0}</figcaption></figure></li>",
        Text(&threat)
    )
}
