//! This is version 1 of the interface, `sdk/wit/v1/policy.wit`, as the types that the engine reads
//! and writes: what the host shows is borrowed, what a policy answers is owned.

use crate::plugin::abi::Exports;
use crate::plugin::guest::Guest;
use soros_core::map::problem::ConfigProblem;
use soros_core::map::table::Table;
use soros_core::policy::{self, topology};
use wasmtime::Store;
use wasmtime::component::{
    ComponentNamedList, ComponentType, Func, Instance, Lift, Lower, TypedFunc,
};

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct About {
    name: String,
    version: String,
    #[component(name = "config-schema")]
    config_schema: String,
}

impl From<About> for policy::About {
    fn from(about: About) -> policy::About {
        let About {
            name,
            version,
            config_schema,
        } = about;
        policy::About {
            name,
            version,
            config_schema,
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct Problem {
    path: String,
    message: String,
}

type Configured<W> = (Result<W, Vec<Problem>>,);

fn configured<W, T: From<W>>(answer: Configured<W>) -> Result<T, Vec<ConfigProblem>> {
    let problem = |Problem { path, message }| ConfigProblem { path, message };
    answer
        .0
        .map(T::from)
        .map_err(|problems| problems.into_iter().map(problem).collect())
}

fn untyped(
    instance: &Instance,
    store: &mut Store<Guest>,
    interface: &str,
    name: &str,
) -> wasmtime::Result<Func> {
    let missing = || wasmtime::format_err!("`{interface}` has no function `{name}`");
    let index = instance
        .get_export_index(&mut *store, None, interface)
        .ok_or_else(missing)?;
    let index = instance
        .get_export_index(&mut *store, Some(&index), name)
        .ok_or_else(missing)?;
    instance.get_func(&mut *store, index).ok_or_else(missing)
}

/// A function of an interface; its types are checked.
pub(super) fn function<P, R>(
    instance: &Instance,
    store: &mut Store<Guest>,
    interface: &str,
    name: &str,
) -> wasmtime::Result<TypedFunc<P, R>>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift,
{
    untyped(instance, store, interface, name)?.typed(store)
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Sibling<'a> {
    time: u64,
    writer: u64,
    value: Option<&'a [u8]>,
    #[component(name = "content-type")]
    content_type: &'a str,
    meta: &'a [(&'a str, &'a str)],
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct Merged {
    #[component(name = "content-type")]
    content_type: String,
    bytes: Vec<u8>,
}

/// What siblings become, in the policy's own words.
#[derive(ComponentType, Lift)]
#[component(variant)]
enum Resolved {
    #[component(name = "keep")]
    Keep(u32),
    #[component(name = "value")]
    Value(Merged),
    #[component(name = "tombstone")]
    Tombstone,
    #[component(name = "keep-all")]
    KeepAll,
}

impl From<Resolved> for policy::Resolved {
    fn from(resolved: Resolved) -> policy::Resolved {
        match resolved {
            Resolved::Keep(place) => {
                policy::Resolved::Keep(usize::try_from(place).unwrap_or(usize::MAX))
            }
            Resolved::Value(Merged {
                content_type,
                bytes,
            }) => policy::Resolved::Value(policy::Merged {
                content_type,
                bytes,
            }),
            Resolved::Tombstone => policy::Resolved::Tombstone,
            Resolved::KeepAll => policy::Resolved::KeepAll,
        }
    }
}

/// What a resolver is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(in crate::plugin) struct SiblingWants {
    pub(in crate::plugin) values: bool,
}

/// The functions of a resolver.
pub(in crate::plugin) struct Resolver {
    configure: Func,
    resolve: Func,
}

type ResolveParams<'a> = (&'a [u8], &'a [Sibling<'a>]);
type ResolveAnswer = (Result<Resolved, String>,);

impl Exports for Resolver {
    type Wants = SiblingWants;

    fn bind(
        instance: &Instance,
        store: &mut Store<Guest>,
        interface: &str,
    ) -> wasmtime::Result<Resolver> {
        let configure = untyped(instance, store, interface, "configure")?;
        let resolve = untyped(instance, store, interface, "resolve")?;
        resolve.typed::<ResolveParams<'_>, ResolveAnswer>(&*store)?;
        Ok(Resolver { configure, resolve })
    }

    fn configure(
        &self,
        store: &mut Store<Guest>,
        config: &str,
    ) -> wasmtime::Result<Result<SiblingWants, Vec<ConfigProblem>>> {
        let function = self
            .configure
            .typed::<(&str,), Configured<SiblingWants>>(&*store)?;
        Ok(configured(function.call(store, (config,))?))
    }
}

impl Resolver {
    /// Asks what siblings become, the bytes of their values left out unless `wants` them.
    pub(in crate::plugin) fn resolve<'a>(
        &self,
        store: &mut Store<Guest>,
        key: &[u8],
        siblings: impl Iterator<Item = &'a policy::Sibling<'a>>,
        wants: SiblingWants,
    ) -> wasmtime::Result<Result<policy::Resolved, String>> {
        let shown = |sibling: &'a policy::Sibling<'a>| Sibling {
            time: sibling.time,
            writer: sibling.writer,
            value: sibling
                .value
                .map(|value| if wants.values { value } else { &[] }),
            content_type: sibling.content_type,
            meta: &sibling.meta,
        };
        let siblings: Vec<Sibling<'_>> = siblings.map(shown).collect();
        let function = self
            .resolve
            .typed::<ResolveParams<'_>, ResolveAnswer>(&*store)?;
        let (answer,) = function.call(store, (key, &siblings))?;
        Ok(answer.map(policy::Resolved::from))
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Node<'a> {
    id: u64,
    zone: &'a str,
    rack: &'a str,
    capacity: u64,
    tags: &'a [String],
}

#[derive(Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
enum State {
    #[component(name = "joining")]
    Joining,
    #[component(name = "active")]
    Active,
    #[component(name = "draining")]
    Draining,
}

impl From<topology::State> for State {
    fn from(state: topology::State) -> State {
        match state {
            topology::State::Joining => State::Joining,
            topology::State::Active => State::Active,
            topology::State::Draining => State::Draining,
        }
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Member<'a> {
    node: Node<'a>,
    state: State,
}

impl<'a> From<&'a topology::Member> for Member<'a> {
    fn from(member: &'a topology::Member) -> Member<'a> {
        let node = &member.node;
        let node = Node {
            id: node.id.0,
            zone: &node.zone,
            rack: &node.rack,
            capacity: node.capacity,
            tags: &node.tags,
        };
        Member {
            node,
            state: member.state.into(),
        }
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Snapshot<'a> {
    epoch: u64,
    members: Vec<Member<'a>>,
    partitions: u32,
    copies: u16,
    #[component(name = "zones-min")]
    zones_min: Option<u16>,
    bytes: &'a [u64],
}

impl<'a> From<&'a topology::Snapshot> for Snapshot<'a> {
    fn from(now: &'a topology::Snapshot) -> Snapshot<'a> {
        Snapshot {
            epoch: now.epoch().0,
            members: now.members().iter().map(Member::from).collect(),
            partitions: now.partitions().get(),
            copies: now.copies().into(),
            zones_min: now.zones_min().map(u16::from),
            bytes: now.bytes(),
        }
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Previous {
    members: Vec<u64>,
    copies: u16,
    cells: Vec<u16>,
}

impl From<&Table> for Previous {
    fn from(table: &Table) -> Previous {
        let (members, cells) = table.positions();
        let members = members.into_iter().map(|id| id.0).collect();
        Previous {
            members,
            copies: table.copies().into(),
            cells,
        }
    }
}

/// The functions of a placement policy.
pub(in crate::plugin) struct Placer {
    configure: Func,
    plan: Func,
}

type PlanParams<'a> = (Snapshot<'a>, Option<Previous>, u64);
type PlanAnswer = (Result<Vec<u16>, String>,);

impl Exports for Placer {
    type Wants = ();

    fn bind(
        instance: &Instance,
        store: &mut Store<Guest>,
        interface: &str,
    ) -> wasmtime::Result<Placer> {
        let configure = untyped(instance, store, interface, "configure")?;
        let plan = untyped(instance, store, interface, "plan")?;
        plan.typed::<PlanParams<'_>, PlanAnswer>(&*store)?;
        Ok(Placer { configure, plan })
    }

    fn configure(
        &self,
        store: &mut Store<Guest>,
        config: &str,
    ) -> wasmtime::Result<Result<(), Vec<ConfigProblem>>> {
        let function = self.configure.typed::<(&str,), Configured<()>>(&*store)?;
        Ok(configured(function.call(store, (config,))?))
    }
}

impl Placer {
    /// Asks for a table, as positions in `now.members()`.
    pub(in crate::plugin) fn plan(
        &self,
        store: &mut Store<Guest>,
        now: &topology::Snapshot,
        before: Option<&Table>,
        seed: u64,
    ) -> wasmtime::Result<Result<Vec<u16>, String>> {
        let function = self.plan.typed::<PlanParams<'_>, PlanAnswer>(&*store)?;
        let params = (Snapshot::from(now), before.map(Previous::from), seed);
        Ok(function.call(store, params)?.0)
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Change<'a> {
    bucket: &'a str,
    key: &'a [u8],
    #[component(name = "content-type")]
    content_type: &'a str,
    value: Option<&'a [u8]>,
    current: Option<&'a [u8]>,
    principal: &'a str,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct Refusal {
    code: String,
    message: String,
    pointer: Option<String>,
}

#[derive(ComponentType, Lift)]
#[component(variant)]
enum Verdict {
    #[component(name = "accept")]
    Accept,
    #[component(name = "accept-as")]
    AcceptAs(Vec<u8>),
    #[component(name = "refuse")]
    Refuse(Refusal),
}

impl From<Verdict> for policy::Verdict {
    fn from(verdict: Verdict) -> policy::Verdict {
        match verdict {
            Verdict::Accept => policy::Verdict::Accept,
            Verdict::AcceptAs(bytes) => policy::Verdict::AcceptAs(bytes),
            Verdict::Refuse(Refusal {
                code,
                message,
                pointer,
            }) => policy::Verdict::Refuse(policy::Refusal {
                code,
                message,
                pointer,
            }),
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct Wants {
    prefixes: Vec<Vec<u8>>,
    current: bool,
    deletes: bool,
    #[component(name = "value-bytes-max")]
    value_bytes_max: u32,
}

impl From<Wants> for policy::Wants {
    fn from(wants: Wants) -> policy::Wants {
        let Wants {
            prefixes,
            current,
            deletes,
            value_bytes_max,
        } = wants;
        policy::Wants {
            prefixes,
            current,
            deletes,
            value_bytes_max,
        }
    }
}

/// The functions of a validator.
pub(in crate::plugin) struct Validator {
    configure: Func,
    check: Func,
}

type CheckParams<'a> = (&'a [Change<'a>],);
type CheckAnswer = (Vec<Verdict>,);

impl Exports for Validator {
    type Wants = policy::Wants;

    fn bind(
        instance: &Instance,
        store: &mut Store<Guest>,
        interface: &str,
    ) -> wasmtime::Result<Validator> {
        let configure = untyped(instance, store, interface, "configure")?;
        let check = untyped(instance, store, interface, "check")?;
        check.typed::<CheckParams<'_>, CheckAnswer>(&*store)?;
        Ok(Validator { configure, check })
    }

    fn configure(
        &self,
        store: &mut Store<Guest>,
        config: &str,
    ) -> wasmtime::Result<Result<policy::Wants, Vec<ConfigProblem>>> {
        let function = self
            .configure
            .typed::<(&str,), Configured<Wants>>(&*store)?;
        Ok(configured(function.call(store, (config,))?))
    }
}

impl Validator {
    /// Asks for one verdict on each change.
    pub(in crate::plugin) fn check(
        &self,
        store: &mut Store<Guest>,
        changes: &[&policy::Change<'_>],
    ) -> wasmtime::Result<Vec<policy::Verdict>> {
        let shown = changes.iter().map(|change| Change {
            bucket: change.bucket,
            key: change.key,
            content_type: change.content_type,
            value: change.value,
            current: change.current,
            principal: change.principal,
        });
        let shown: Vec<Change<'_>> = shown.collect();
        let function = self.check.typed::<CheckParams<'_>, CheckAnswer>(&*store)?;
        let (verdicts,) = function.call(store, (&shown,))?;
        Ok(verdicts.into_iter().map(policy::Verdict::from).collect())
    }
}
