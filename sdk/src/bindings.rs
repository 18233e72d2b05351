//! This is the component interface as Rust: written by wit-bindgen from `wit/v1/policy.wit` and
//! kept here, so that a plugin is built without the generator.
//!
//! `SOROS_BLESS=1 cargo test -p soros-sdk bindings` writes the files anew.
#![allow(
    missing_docs,
    unsafe_code,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::unwrap_used
)]

pub mod placement;
pub mod resolution;
pub mod validation;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use wit_bindgen_core::wit_parser::Resolve;
    use wit_bindgen_core::{Files, WorldGenerator};

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR"))
    }

    fn generate(world: &str) -> String {
        let options = wit_bindgen_rust::Opts {
            format: true,
            runtime_path: Some("::wit_bindgen::rt".into()),
            default_bindings_module: Some(format!("soros_sdk::bindings::{world}")),
            export_macro_name: Some(format!("export_{world}_component")),
            pub_export_macro: true,
            additional_derive_attributes: ["PartialEq", "Eq", "PartialOrd", "Ord"]
                .map(Into::into)
                .into(),
            additional_derive_ignore: vec!["level".into(), "state".into()],
            ..Default::default()
        };
        let mut wit = Resolve::default();
        let (package, _) = wit.push_path(root().join("wit/v1")).expect("WIT");
        let id = wit.select_world(&[package], Some(world)).expect("a world");
        let mut files = Files::default();
        let mut generator = options.build();
        generator
            .generate(&mut wit, id, &mut files)
            .expect("bindings");
        let (_, bytes) = files.iter().next().expect("one file");
        let code = std::str::from_utf8(bytes).expect("Rust is UTF-8");
        format!("// @generated from wit/v1/policy.wit, world `{world}`: see `bindings.rs`.\n{code}")
    }

    fn path(world: &str) -> PathBuf {
        root().join(format!("src/bindings/{world}.rs"))
    }

    #[test]
    fn are_what_the_generator_writes() {
        for world in ["placement", "resolution", "validation"] {
            let expected = generate(world);
            if std::env::var_os("SOROS_BLESS").is_some() {
                std::fs::write(path(world), &expected).expect("a writable source tree");
            }
            let found = std::fs::read_to_string(path(world)).unwrap_or_default();
            assert!(
                found == expected,
                "{world}: run with SOROS_BLESS=1 and look at the difference"
            );
        }
    }
}
