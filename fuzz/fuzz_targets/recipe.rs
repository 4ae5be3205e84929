//! Recipes of training.

#![no_main]

use assay_harden::Recipe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = Recipe::parse(text);
});
