//! This is how the tests find the components that the host's build script made: those that only
//! tests use are in no binary.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let folder = std::env::var("DEP_SOROS_HOST_PLUGINS").expect("the host's build script says it");
    // What the simulated process says to be random must be found where programs look for it.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo::rustc-link-arg-tests=-Wl,--export-dynamic-symbol=getrandom");
    }
    println!("cargo::rustc-env=SOROS_TEST_PLUGINS={folder}");
}
