//! This is the core module that a plugin is before it is a component: what it asks of its host is
//! looked at first, because the encoder's words do not say what to do.

use super::encode::encode;
use wasmparser::{Parser, Payload, TypeRef};

/// Why a core module does not become a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// It needs what no policy has.
    #[error(
        "it imports {}, and a policy may import nothing but its log. A dependency wants a browser, \
         a clock or randomness: `cargo tree --target wasm32-unknown-unknown -e features` shows \
         which; leave it, or the feature, out",
        .0.join(", ")
    )]
    ForeignImports(Vec<String>),
    /// It has no interface, or does not fit it.
    #[error(
        "it is no policy: {0}. It has to end with `soros_sdk::export_validation!(TYPE);`, or the \
         same with `resolution` or `placement`"
    )]
    NoPolicy(String),
}

/// Makes a component of a core module.
///
/// # Errors
/// [`ModuleError`] says what is wrong with it.
pub fn component_of(module: &[u8]) -> Result<Vec<u8>, ModuleError> {
    let foreign = foreign_imports(module).map_err(|error| ModuleError::NoPolicy(error.to_string()));
    let foreign = foreign?;
    if !foreign.is_empty() {
        return Err(ModuleError::ForeignImports(foreign));
    }
    encode(module).map_err(ModuleError::NoPolicy)
}

/// What it imports besides functions of the policy interface.
fn foreign_imports(module: &[u8]) -> wasmparser::Result<Vec<String>> {
    let mut foreign = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ImportSection(section) = payload? else {
            continue;
        };
        for import in section.into_imports() {
            let import = import?;
            let is_function = matches!(import.ty, TypeRef::Func(_));
            if !(is_function && import.module.starts_with("soros:policy/")) {
                foreign.push(format!("{} {}", import.module, import.name));
            }
        }
    }
    foreign.sort();
    foreign.dedup();
    Ok(foreign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(text: &str) -> ModuleError {
        let module = wat::parse_str(text).expect("a module in words");
        component_of(&module).expect_err("it is no policy")
    }

    #[test]
    fn foreign_imports_are_named_with_a_way_out() {
        let error = refused(
            r#"(module
                (import "wasi_snapshot_preview1" "clock_time_get" (func))
                (import "soros:policy/log@1.0.0" "write" (func))
                (import "__wbindgen_placeholder__" "now" (func)))"#,
        );
        let names = [
            "__wbindgen_placeholder__ now",
            "wasi_snapshot_preview1 clock_time_get",
        ];
        let names = names.map(str::to_owned).to_vec();
        assert_eq!(error, ModuleError::ForeignImports(names));
        assert!(error.to_string().contains("cargo tree"), "{error}");
    }

    #[test]
    fn what_is_no_module_is_no_policy() {
        let error = component_of(b"no module").expect_err("it is none");
        assert!(matches!(error, ModuleError::NoPolicy(_)), "{error}");
    }
}
