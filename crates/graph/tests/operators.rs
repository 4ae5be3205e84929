//! The list of operators in `docs/operators.md` is that of the table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

use assay_graph::{Class, OPERATORS};

const HEAD: &str = "\
# Operators that have a derivative

<!-- Written by `UPDATE_DOCS=1 cargo test -p assay-graph --test operators` from the table in `crates/graph/src/ops/mod.rs`. -->

A gradient goes through the operators below, in all attributes and by all floating-point inputs but for what the last column names. Anything
else on the way from the input to the logits is refused with the node's name: a wrong gradient looks like a robust model. Each entry is compared with
central differences in f64, and so is the derivative of each derivative; `QuantizeLinear` and `DynamicQuantizeLinear` have an estimator instead.

- A model is brought to operator set 18 first. What that set lacks is written out with what it has (`Gelu`, `GroupNormalization`,
  `RMSNormalization`, `Attention`, `RotaryEmbedding`, `AffineGrid`, `Pad` that wraps around), and what ONNX Runtime's optimiser fused is
  taken apart: `FusedConv`, `FusedGemm`, `FusedMatMul`, `Gelu`, `BiasGelu`, `FastGelu`, `QuickGelu`, `SkipLayerNormalization`,
  `SimplifiedLayerNormalization`, `SkipSimplifiedLayerNormalization`.
- Comparisons, boolean operators, `Shape` and integers that do not depend on the input may stand anywhere.
- Operators that are constant almost everywhere, as `Round`, `Floor` and `Sign`, are refused.
- What happens at kinks stands at the top of `crates/graph/src/ops/mod.rs`.

| operator | kind | refused |
|---|---|---|
";

#[test]
fn the_list_in_the_documentation_is_that_of_the_table() {
    let kind = |class: Class| match class {
        Class::ShapeOnly => "moves elements",
        Class::Linear => "linear",
        Class::Bilinear => "linear in each input",
        Class::Monotone => "element by element, monotone",
        Class::Elementwise => "element by element",
        Class::Opaque => "other",
    };
    let rows = OPERATORS.iter().map(|o| format!("| `{}` | {} | {} |\n", o.name(), kind(o.class()), o.refused()));
    let expected = HEAD.to_owned() + &rows.collect::<String>();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operators.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "docs/operators.md is not that of the table; run this test with UPDATE_DOCS=1");
}
