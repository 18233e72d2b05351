//! This is what runs policies: components become policies here, and policies are asked here, in a
//! sandbox that bounds what a call may compute, hold, say and touch.
//!
//! A policy is a function: it sees what it is shown, no clock, no randomness, no network, no files,
//! and it imports nothing but a log. Whatever it does (loop, trap, grow, recurse, lie) its caller
//! gets a typed [`PolicyError`](soros_core::policy::PolicyError) within its deadline, and the next
//! call works. No socket, disk or role of the node is known here.

mod abi;
mod admission;
mod capture;
mod compile;
pub mod compiler;
mod encode;
mod engine;
mod error;
mod guest;
mod instance;
pub mod laws;
pub mod limits;
mod log;
pub mod module;
mod placer;
mod recorded;
mod resolver;
mod shipped;
mod ticker;
mod validator;

pub use admission::{Admitted, Check};
pub use compiler::Compiler;
pub(crate) use encode::TARGET;
pub use engine::EngineError;
pub use error::AdmissionError;
pub use instance::Usage;
pub use placer::Placer;
pub use recorded::{Compared, Recorded};
pub use resolver::Resolver;
pub use shipped::{Shipped, shipped};
pub use validator::Validator;

use crate::store::native::NativeCode;
use compile::Compiled;
use engine::Host;
use error::Fault;
use instance::Source;
use limits::CONFIG_BYTES_MAX;
use log::Journal;
use soros_core::map::json::Json;
use soros_core::map::plugin::{PluginDigest, PluginKind};
use soros_core::policy::About;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// The name of the ABI that this host speaks.
pub const ABI: &str = abi::NAME;

/// The engines of a process, and the policies that are loaded. Nodes in one process share it.
pub struct Runtime {
    requests: Arc<Host>,
    planning: Arc<Host>,
    compiled: Known<PluginDigest, Compiled>,
    loaded: Known<PolicyId, Policy>,
    compiler: Compiler,
    native: Option<NativeCode>,
}

/// A component that stays compiled as long as this is kept.
#[derive(Clone)]
pub struct Ready {
    digest: PluginDigest,
    compiled: Arc<Compiled>,
}

impl Ready {
    /// What the plugin says of itself.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.compiled.about
    }
}

/// What is in use somewhere in the process, so that it is made once.
struct Known<K, V>(Mutex<HashMap<K, Weak<V>>>);

impl<K: Eq + Hash, V> Known<K, V> {
    fn find(&self, key: &K) -> Option<Arc<V>> {
        self.lock().get(key).and_then(Weak::upgrade)
    }

    /// Keeps what was made, or what somebody else made meanwhile.
    fn keep(&self, key: K, value: V) -> Arc<V> {
        let mut known = self.lock();
        known.retain(|_, value| 0 < value.strong_count());
        if let Some(value) = known.get(&key).and_then(Weak::upgrade) {
            return value;
        }
        let value = Arc::new(value);
        known.insert(key, Arc::downgrade(&value));
        value
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Weak<V>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a policy is: its component, its config and its interface, and nothing else. Policies of one
/// identity give the same answers on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PolicyId(pub [u8; 32]);

impl PolicyId {
    fn of(digest: &PluginDigest, config: &str) -> PolicyId {
        let mut hasher = blake3::Hasher::new_derive_key("soros 2026 policy identity");
        for part in [digest.to_string().as_bytes(), config.as_bytes()] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part);
        }
        hasher.update(&abi::MAJOR.to_be_bytes());
        PolicyId(*hasher.finalize().as_bytes())
    }
}

impl std::fmt::Display for PolicyId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// A plugin with a config, ready to be asked.
pub struct Policy {
    about: About,
    digest: PluginDigest,
    id: PolicyId,
    role: Role,
}

enum Role {
    Placer(Placer),
    Resolver(Resolver),
    Validator(Validator),
}

impl Policy {
    /// What it says of itself.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// The hash of its component.
    #[must_use]
    pub fn digest(&self) -> PluginDigest {
        self.digest
    }

    /// What it is.
    #[must_use]
    pub fn id(&self) -> PolicyId {
        self.id
    }

    /// The interface that it speaks.
    #[must_use]
    pub fn abi(&self) -> &'static str {
        abi::NAME
    }

    /// What it decides.
    #[must_use]
    pub fn kind(&self) -> PluginKind {
        match self.role {
            Role::Placer(_) => PluginKind::Placement,
            Role::Resolver(_) => PluginKind::Resolution,
            Role::Validator(_) => PluginKind::Validation,
        }
    }

    /// The placement policy, if it is one.
    #[must_use]
    pub fn placer(&self) -> Option<&Placer> {
        if let Role::Placer(placer) = &self.role {
            Some(placer)
        } else {
            None
        }
    }

    /// The resolution policy, if it is one.
    #[must_use]
    pub fn resolver(&self) -> Option<&Resolver> {
        if let Role::Resolver(resolver) = &self.role {
            Some(resolver)
        } else {
            None
        }
    }

    /// The validation policy, if it is one.
    #[must_use]
    pub fn validator(&self) -> Option<&Validator> {
        if let Role::Validator(validator) = &self.role {
            Some(validator)
        } else {
            None
        }
    }

    /// How it has been used on this node.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match &self.role {
            Role::Placer(placer) => placer.usage(),
            Role::Resolver(resolver) => resolver.usage(),
            Role::Validator(validator) => validator.usage(),
        }
    }
}

impl Runtime {
    /// Starts the engines. What does not ship is compiled by `compiler`.
    ///
    /// # Errors
    /// [`EngineError`] when the machine has no room for them.
    pub fn new(compiler: Compiler) -> Result<Runtime, EngineError> {
        Ok(Runtime {
            compiler,
            requests: Arc::new(Host::for_requests()?),
            planning: Arc::new(Host::for_planning()?),
            compiled: Known(Mutex::default()),
            loaded: Known(Mutex::default()),
            native: None,
        })
    }

    /// Keeps the code that it compiles in `native`, and takes it from there.
    #[must_use]
    pub fn keeping(self, native: NativeCode) -> Runtime {
        let native = Some(native);
        Runtime { native, ..self }
    }

    /// Makes a policy of a component and a config. It compiles, so it may take a second and does
    /// not belong on a thread that serves requests; a policy that is loaded already is given again.
    ///
    /// # Errors
    /// [`AdmissionError`] says what is wrong with the component or the config.
    pub fn load(&self, component: &[u8], config: &Json) -> Result<Arc<Policy>, AdmissionError> {
        self.policy(&self.ready(component)?, config)
    }

    /// Compiles a component, so that policies of it are made at once.
    ///
    /// # Errors
    /// [`AdmissionError`] says what is wrong with it.
    pub fn ready(&self, component: &[u8]) -> Result<Ready, AdmissionError> {
        let digest = PluginDigest(*blake3::hash(component).as_bytes());
        let compiled = self.compile(digest, component)?;
        Ok(Ready { digest, compiled })
    }

    /// Makes a policy of a component that is compiled and a config; one that is loaded already is
    /// given again.
    ///
    /// # Errors
    /// [`AdmissionError`] says what is wrong with the config.
    pub fn policy(&self, ready: &Ready, config: &Json) -> Result<Arc<Policy>, AdmissionError> {
        let config = config.canonical();
        if CONFIG_BYTES_MAX < config.len() {
            return Err(AdmissionError::ConfigTooLarge(config.len()));
        }
        let id = PolicyId::of(&ready.digest, &config);
        if let Some(policy) = self.loaded.find(&id) {
            return Ok(policy);
        }
        let compiled = Arc::clone(&ready.compiled);
        let about = compiled.about.clone();
        let journal = Arc::new(Journal::new(format!("{}@{}", about.name, about.version)));
        let source = Source {
            host: Arc::clone(self.host(compiled.kind)),
            compiled,
            config,
            journal,
        };
        let role = Role::new(source).map_err(Fault::into_admission_error)?;
        let policy = Policy {
            about,
            digest: ready.digest,
            id,
            role,
        };
        Ok(self.loaded.keep(id, policy))
    }

    fn compile(
        &self,
        digest: PluginDigest,
        component: &[u8],
    ) -> Result<Arc<Compiled>, AdmissionError> {
        if let Some(compiled) = self.compiled.find(&digest) {
            return Ok(compiled);
        }
        let outline = compile::outline(component)?;
        let host = self.host(outline.kind);
        let ships = shipped().iter().any(|shipped| shipped.digest == digest);
        let by = if ships {
            &Compiler::Here
        } else {
            &self.compiler
        };
        let compiled = compile::compile(host, component, outline, by, self.native.as_ref())?;
        Ok(self.compiled.keep(digest, compiled))
    }

    fn host(&self, kind: PluginKind) -> &Arc<Host> {
        match kind {
            PluginKind::Placement => &self.planning,
            PluginKind::Resolution | PluginKind::Validation => &self.requests,
        }
    }
}

impl Role {
    fn new(source: Source) -> Result<Role, Fault> {
        Ok(match source.compiled.kind {
            PluginKind::Placement => Role::Placer(Placer::new(source)?),
            PluginKind::Resolution => Role::Resolver(Resolver::new(source)?),
            PluginKind::Validation => Role::Validator(Validator::new(source)?),
        })
    }
}

#[cfg(test)]
mod tests;
