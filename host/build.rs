//! This is how the binary gets the policies that ship: they are built from source for
//! `wasm32-unknown-unknown`, made components, and embedded under the digest of their bytes.
//!
//! Cargo runs on a workspace of its own, in a target directory of its own, and without what the
//! outer build was told, so that the components are the same whoever builds them.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

#[path = "src/plugin/encode.rs"]
mod encode;

use encode::TARGET;

const PROFILE: &str = "plugin";

/// A plugin: its folder in `plugins/` and its package there.
struct Plugin {
    folder: &'static str,
    package: &'static str,
}

/// What ships, with its canonical name and what it decides.
const SHIPPED: [(Plugin, &str, &str); 9] = [
    (
        Plugin {
            folder: "placement-balanced",
            package: "placement-balanced",
        },
        "balanced",
        "Placement",
    ),
    (
        Plugin {
            folder: "placement-pinned",
            package: "placement-pinned",
        },
        "pinned",
        "Placement",
    ),
    (
        Plugin {
            folder: "resolution-counter",
            package: "resolution-counter",
        },
        "counter",
        "Resolution",
    ),
    (
        Plugin {
            folder: "resolution-json-merge",
            package: "resolution-json-merge",
        },
        "json-merge",
        "Resolution",
    ),
    (
        Plugin {
            folder: "resolution-lww",
            package: "resolution-lww",
        },
        "lww",
        "Resolution",
    ),
    (
        Plugin {
            folder: "resolution-set",
            package: "resolution-set",
        },
        "set",
        "Resolution",
    ),
    (
        Plugin {
            folder: "validation-immutable",
            package: "validation-immutable",
        },
        "immutable",
        "Validation",
    ),
    (
        Plugin {
            folder: "validation-json-schema",
            package: "validation-json-schema",
        },
        "json-schema",
        "Validation",
    ),
    (
        Plugin {
            folder: "validation-size-and-type",
            package: "validation-size-and-type",
        },
        "size-and-type",
        "Validation",
    ),
];

/// What only this package's tests use.
const MISBEHAVING: [Plugin; 3] = [
    Plugin {
        folder: "misbehaving/placement",
        package: "misbehaving-placement",
    },
    Plugin {
        folder: "misbehaving/resolution",
        package: "misbehaving-resolution",
    },
    Plugin {
        folder: "misbehaving/validation",
        package: "misbehaving-validation",
    },
];

fn main() {
    let root = folder("CARGO_MANIFEST_DIR").join("..");
    let root = root.canonicalize().expect("the workspace's folder");
    let out = folder("OUT_DIR");
    watch(&root);
    demand_target();
    build(&root, &out.join("plugins"));
    for plugin in plugins() {
        let module = format!(
            "plugins/{TARGET}/{PROFILE}/{}.wasm",
            plugin.package.replace('-', "_")
        );
        let made = component(plugin.package, &out.join(module));
        write(&out.join(format!("{}.wasm", plugin.package)), &made);
    }
    write(&out.join("shipped.rs"), listing(&root, &out).as_bytes());
    println!("cargo::metadata=plugins={}", out.display());
}

fn plugins() -> impl Iterator<Item = &'static Plugin> {
    SHIPPED
        .iter()
        .map(|(plugin, _, _)| plugin)
        .chain(&MISBEHAVING)
}

fn folder(variable: &str) -> PathBuf {
    env::var_os(variable).expect("cargo sets it").into()
}

/// Names every input, so that an unchanged tree costs nothing.
fn watch(root: &Path) {
    let fixed = [
        "Cargo.toml",
        "plugins/Cargo.toml",
        "plugins/Cargo.lock",
        "sdk/Cargo.toml",
        "sdk/src",
    ];
    let sources = plugins().flat_map(|plugin| {
        ["Cargo.toml", "src"].map(|input| format!("plugins/{}/{input}", plugin.folder))
    });
    for input in fixed.into_iter().map(str::to_owned).chain(sources) {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
}

/// Ends the build with the one command to type where the target is not installed.
fn demand_target() {
    let rustc = env::var_os("RUSTC").expect("cargo sets it");
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output();
    let there = output
        .is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir());
    if !there {
        fail(&format!(
            "The policies that ship are built for {TARGET}, which is not installed. Type:\n\n    \
             rustup target add {TARGET}\n"
        ));
    }
}

fn fail(reason: &str) -> ! {
    eprintln!("\n{reason}");
    exit(1)
}

fn build(root: &Path, target: &Path) {
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo.args([
        "build",
        "--locked",
        "--target",
        TARGET,
        "--profile",
        PROFILE,
    ]);
    cargo
        .arg("--target-dir")
        .arg(target)
        .current_dir(root.join("plugins"));
    for plugin in plugins() {
        cargo.args(["--package", plugin.package]);
    }
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_outer_build) {
            cargo.env_remove(name);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(root));
    match cargo.status() {
        Ok(status) if status.success() => {}
        Ok(status) => fail(&format!("building the policies that ship failed: {status}")),
        Err(error) => fail(&format!("cargo does not start: {error}")),
    }
}

/// What the outer build was told, and what cargo tells its build scripts. Where cargo keeps its
/// files, how it reaches a registry and how many jobs it may run stay.
fn is_of_outer_build(name: &str) -> bool {
    let stays = ["CARGO_HOME", "CARGO_MAKEFLAGS"].contains(&name)
        || [
            "CARGO_HTTP_",
            "CARGO_NET_",
            "CARGO_REGISTR",
            "CARGO_SOURCE_",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    let told = [
        "RUSTFLAGS",
        "RUSTC",
        "RUSTDOC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
    ];
    (told.contains(&name) || name.starts_with("CARGO_")) && !stays
}

/// The folders of this machine do not get into a component, as places of panics would.
fn flags(root: &Path) -> String {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let root = format!("--remap-path-prefix={}=/soros", root.display());
    let home = home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display()));
    [Some(root), home]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("\u{1f}")
}

fn component(package: &str, module: &Path) -> Vec<u8> {
    let module = fs::read(module).expect("cargo built it");
    match encode::encode(&module) {
        Ok(component) => component,
        Err(error) => fail(&format!("{package} is no component: {error}")),
    }
}

fn write(path: &Path, bytes: &[u8]) {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return;
    }
    fs::write(path, bytes).expect("the output folder is writable");
}

/// The table of what ships, as the host includes it.
fn listing(root: &Path, out: &Path) -> String {
    let version = version(root);
    let mut list = String::from("[\n");
    for (plugin, name, kind) in &SHIPPED {
        let file = format!("{}.wasm", plugin.package);
        let digest = blake3::hash(&fs::read(out.join(&file)).expect("it was written"));
        write!(
            list,
            "    Shipped {{\n        name: {name:?},\n        version: {version:?},\n        \
             kind: PluginKind::{kind},\n        digest: PluginDigest({:?}),\n        \
             bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\")),\n    }},\n",
            digest.as_bytes()
        )
        .expect("a string takes all that is written to it");
    }
    list + "]\n"
}

/// The version that all plugins of the workspace share.
fn version(root: &Path) -> String {
    let manifest = fs::read_to_string(root.join("plugins/Cargo.toml")).expect("it is there");
    let line = manifest
        .lines()
        .find_map(|line| line.strip_prefix("version = "));
    line.expect("the workspace names a version")
        .trim_matches('"')
        .to_owned()
}
