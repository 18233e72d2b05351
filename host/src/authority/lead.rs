//! This is the leader's work: it makes a change of a command, on the newest map there is, and has
//! it committed.
//!
//! One command at a time: what was planned on a map is proposed for that map only.

use super::command::{Command, CommandError, Done, Keys, Proposed, Registration};
use super::member::Running;
use super::raft::{Types, Voter};
use super::{Inner, PlanError, activation, blame, deletion, spread, twin};
use openraft::ReadPolicy;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use soros_core::epoch::Epoch;
use soros_core::id::Incarnation;
use soros_core::map::Map;
use soros_core::map::bucket::BucketConfig;
use soros_core::map::change::{Change, ChangeError, Origin, Proposal};
use soros_core::map::node::Identity;
use soros_core::map::placement::PlacementConfig;
use soros_core::map::plugin::{Plugin, PluginKind, PolicyUse};
use soros_core::map::table::Table;
use soros_core::policy::topology::Snapshot;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the leader tries to learn that it still leads.
const LEADERSHIP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a change may take to be committed.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(4);

/// A change that was made.
pub(super) struct Changed {
    /// The map before it.
    pub(super) before: Arc<Map>,
    /// The map from which it is in force.
    pub(super) after: Arc<Map>,
}

impl Inner {
    /// This node's member of the Raft group, if it leads.
    pub(super) fn leading(&self) -> Option<Arc<Running>> {
        let running = self.member.as_ref()?.running()?;
        running.raft.is_leader().then_some(running)
    }
}

/// Carries `proposed` out, if this node leads.
///
/// # Errors
/// [`CommandError`] says whether anything was changed.
pub(super) async fn carry_out(
    inner: &Arc<Inner>,
    proposed: Proposed,
) -> Result<Done, CommandError> {
    let Proposed {
        command,
        only_at,
        through,
    } = proposed;
    let command = &command;
    let origin = Origin {
        through,
        is_rollback: matches!(command, Command::Activate { version: None, .. }),
    };
    match command {
        Command::Register(registration) => return register(inner, registration, only_at).await,
        Command::DeleteBucket {
            name,
            keys: Keys::Keep,
        } => {
            return deletion::delete(inner, name, only_at).await;
        }
        Command::Activate { name, version } => {
            return activation::activate(inner, name, version.as_ref(), (origin, only_at)).await;
        }
        Command::Report {
            name,
            since,
            count,
            blame,
        } => return blame::report(inner, name, *since, (*count, blame)).await,
        Command::PutShadow {
            name,
            shadow: Some(shadow),
        } => activation::prepare_shadow(inner, name, shadow).await?,
        _ => {}
    }
    let changed = change(inner, Asked::by(origin, only_at), async |map| {
        prepare(inner, map, command).await
    })
    .await?;
    let created = is_new(&changed.before, command);
    let not_ready = spread::spread(inner, &changed.after).await;
    Ok(Done::at(changed.after.epoch(), created, not_ready))
}

fn is_new(before: &Map, command: &Command) -> bool {
    match command {
        Command::PutBucket { name, .. } => before.bucket(name).is_none(),
        Command::PutPlacement { name, .. } => before.placement(name).is_none(),
        Command::Register(registration) => before.node(registration.identity.id()).is_none(),
        Command::PutRelease { name, version, .. } => {
            let plugin = before.plugin(name);
            !plugin.is_some_and(|plugin| plugin.releases.contains_key(version))
        }
        Command::DeleteBucket { .. }
        | Command::DeletePlacement { .. }
        | Command::PutSettings(_)
        | Command::Activate { .. }
        | Command::Report { .. }
        | Command::PutShadow { .. }
        | Command::DropRelease { .. } => false,
    }
}

/// Who asks for a change, and of which map; nobody and whichever it is, by default.
#[derive(Default)]
pub(super) struct Asked {
    /// For the record.
    pub(super) origin: Option<Origin>,
    /// Only if the map still has this epoch.
    pub(super) only_at: Option<Epoch>,
}

impl Asked {
    /// By nobody who goes on record.
    pub(super) fn at(only_at: Option<Epoch>) -> Asked {
        Asked {
            origin: None,
            only_at,
        }
    }

    /// By somebody.
    pub(super) fn by(origin: Origin, only_at: Option<Epoch>) -> Asked {
        Asked {
            origin: Some(origin),
            only_at,
        }
    }
}

/// Makes a change of the newest map, with nobody else making one meanwhile.
///
/// # Errors
/// [`CommandError`] says whether anything was changed.
pub(super) async fn change(
    inner: &Inner,
    Asked { origin, only_at }: Asked,
    make: impl AsyncFnOnce(&Map) -> Result<Change, CommandError>,
) -> Result<Changed, CommandError> {
    let _turn = inner.turn.lock().await;
    let running = inner
        .leading()
        .ok_or(CommandError::NotLeader { leader: None })?;
    let before = newest(&running).await?;
    let now = before.epoch();
    if let Some(expected) = only_at
        && expected != now
    {
        return Err(ChangeError::Moved { expected, now }.into());
    }
    let change = make(&before).await?;
    // Tried before it is proposed, so that what is refused leaves no trace in the log.
    before.apply(&change)?;
    let proposal = Proposal::on(Some(&before), change, origin);
    let after = propose(&running, proposal).await?;
    Ok(Changed { before, after })
}

/// The newest map, read after a quorum confirmed that this member leads.
pub(super) async fn newest(running: &Running) -> Result<Arc<Map>, CommandError> {
    let confirmed = running.raft.ensure_linearizable(ReadPolicy::ReadIndex);
    match timeout(LEADERSHIP_TIMEOUT, confirmed).await {
        Ok(Ok(_)) => running
            .maps
            .borrow()
            .clone()
            .ok_or(ChangeError::NotFounded.into()),
        Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
            Err(not_leader(forward))
        }
        Ok(Err(_)) | Err(_) => Err(CommandError::NoLeader),
    }
}

fn not_leader(forward: ForwardToLeader<Types>) -> CommandError {
    let node = |voter: Voter| voter.node;
    CommandError::NotLeader {
        leader: forward.leader_node.map(node),
    }
}

/// Has `proposal` committed, and answers the map after it.
///
/// # Errors
/// [`CommandError`] says whether anything was changed.
pub(super) async fn propose(
    running: &Running,
    proposal: Proposal,
) -> Result<Arc<Map>, CommandError> {
    let kind = proposal.change.kind();
    match timeout(COMMIT_TIMEOUT, running.raft.client_write(proposal)).await {
        Ok(Ok(written)) => {
            let epoch = written.data.0?;
            tracing::info!(%epoch, change = kind, "the map was changed");
            running
                .maps
                .borrow()
                .clone()
                .ok_or(ChangeError::NotFounded.into())
        }
        Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward)))) => {
            Err(not_leader(forward))
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, change = kind, "whether a change was made is not known");
            Err(CommandError::Unknown)
        }
        Err(_) => Err(CommandError::Unknown),
    }
}

async fn prepare(inner: &Inner, map: &Map, command: &Command) -> Result<Change, CommandError> {
    Ok(match command.clone() {
        Command::Register(registration) => Change::Register(Box::new(registration.identity)),
        Command::PutBucket { name, config } => {
            check_policies(inner, map, &config).await?;
            Change::PutBucket { name, config }
        }
        Command::DeleteBucket {
            name,
            keys: Keys::Keep,
        } => Change::CloseBucket { name },
        Command::DeleteBucket {
            name,
            keys: Keys::Purge,
        } => Change::PurgeBucket { name },
        Command::PutPlacement { name, config } => {
            let before = map.placement(&name).map(|placement| &placement.table);
            let table = plan(inner, map, &config, before).await?;
            Change::PutPlacement {
                name,
                config,
                table,
            }
        }
        Command::DeletePlacement { name } => Change::DeletePlacement { name },
        Command::PutSettings(settings) => Change::PutSettings(settings),
        Command::PutRelease {
            name,
            version,
            kind,
            release,
        } => Change::PutRelease {
            name,
            version,
            kind,
            release,
        },
        // By paths of their own: one makes all nodes ready first, the other counts first.
        Command::Activate { name, .. } | Command::Report { name, .. } => {
            return Err(ChangeError::PluginMoved(name).into());
        }
        Command::PutShadow { name, shadow } => Change::PutShadow { name, shadow },
        Command::DropRelease { name, version } => Change::DropRelease { name, version },
    })
}

/// Whether the bucket's policies take their configurations. Names that there are not are left to
/// the map, which says so better.
async fn check_policies(
    inner: &Inner,
    map: &Map,
    config: &BucketConfig,
) -> Result<(), CommandError> {
    config.check().map_err(ChangeError::BadConfig)?;
    if let Some(resolver) = &config.resolver {
        let checked = check_policy(inner, map, PluginKind::Resolution, resolver).await;
        checked.map_err(|error| at("/resolver/config", error))?;
    }
    for (number, used) in config.validators.iter().enumerate() {
        let policy = PolicyUse {
            plugin: used.plugin.clone(),
            config: used.config.clone(),
        };
        let checked = check_policy(inner, map, PluginKind::Validation, &policy).await;
        checked.map_err(|error| at(&format!("/validators/{number}/config"), error))?;
    }
    Ok(())
}

/// The error of a policy's config that stands at `place` of what was sent.
fn at(place: &str, error: CommandError) -> CommandError {
    let CommandError::BadPolicyConfig(mut problems) = error else {
        return error;
    };
    for problem in &mut problems {
        problem.path.insert_str(0, place);
    }
    CommandError::BadPolicyConfig(problems)
}

async fn check_policy(
    inner: &Inner,
    map: &Map,
    kind: PluginKind,
    policy: &PolicyUse,
) -> Result<(), CommandError> {
    let plugin = map.plugin(&policy.plugin);
    let active = plugin.filter(|plugin| plugin.kind == kind);
    if active.is_some_and(|plugin| plugin.quarantine.is_some()) {
        return unless_known(map, policy);
    }
    match active.and_then(Plugin::active) {
        Some((_, release)) => {
            let checked = inner.parts.planner.check(kind, release, policy).await;
            checked.map_err(plan_failed)
        }
        None => Ok(()),
    }
}

/// A plugin in quarantine is not asked whether it takes a configuration: one that is in use may
/// stay.
fn unless_known(map: &Map, policy: &PolicyUse) -> Result<(), CommandError> {
    let PolicyUse { plugin, config } = policy;
    if activation::configs(map, plugin).contains(config) {
        Ok(())
    } else {
        Err(CommandError::PolicyFailed(format!(
            "`{plugin}` is in quarantine"
        )))
    }
}

/// The table of a placement with `config`: the one there was, if the policy can do no better.
async fn plan(
    inner: &Inner,
    map: &Map,
    config: &PlacementConfig,
    before: Option<&Table>,
) -> Result<Table, CommandError> {
    config.check().map_err(ChangeError::BadConfig)?;
    let (name, kind) = (&config.policy.plugin, PluginKind::Placement);
    let plugin = map.plugin(name).filter(|plugin| plugin.kind == kind);
    let Some((_, release)) = plugin.and_then(Plugin::active) else {
        let name = name.clone();
        return Err(ChangeError::UnknownPlugin { name, kind }.into());
    };
    if plugin.is_some_and(|plugin| plugin.quarantine.is_some()) {
        let why = format!("`{name}` is in quarantine, and the table in force stays");
        return Err(CommandError::PolicyFailed(why));
    }
    if let Some(fixed) = before.map(|table| table.partitions().get())
        && fixed != config.partitions
    {
        return Err(ChangeError::PartitionsFixed(fixed).into());
    }
    let checked = check_policy(inner, map, PluginKind::Placement, &config.policy).await;
    checked.map_err(|error| at("/policy/config", error))?;
    let now = Snapshot::of(map.epoch(), map.nodes(), config)
        .map_err(|error| CommandError::PolicyFailed(error.to_string()))?;
    let planned = inner
        .parts
        .planner
        .plan(release, &config.policy, now, before);
    planned.await.map_err(plan_failed)
}

/// What a policy's failure is to who gave the command.
pub(super) fn plan_failed(error: PlanError) -> CommandError {
    match error {
        PlanError::BadConfig(problems) => CommandError::BadPolicyConfig(problems),
        PlanError::Unfit(why) | PlanError::Failed(why) => CommandError::PolicyFailed(why),
    }
}

/// Takes a node in, or back. It need not wait until all others know: it learns by itself whom it
/// may answer.
async fn register(
    inner: &Arc<Inner>,
    registration: &Registration,
    only_at: Option<Epoch>,
) -> Result<Done, CommandError> {
    let Registration { identity, home } = registration;
    let registered = change(inner, Asked::at(only_at), async |map| {
        refuse_a_second_life(inner, map, identity).await?;
        refuse_an_old_directory(map, identity, *home)?;
        Ok(Change::Register(Box::new(identity.clone())))
    });
    let changed = registered.await?;
    let created = changed.before.node(identity.id()).is_none();
    let epoch = changed.after.epoch();
    let inner = Arc::clone(inner);
    tokio::spawn(async move { spread::spread(&inner, &changed.after).await });
    Ok(Done::at(epoch, created, Vec::new()))
}

/// Refuses a node whose directory is not its latest, until the node knows: it must not be believed
/// when it says that there is nothing.
fn refuse_an_old_directory(
    map: &Map,
    identity: &Identity,
    home: Option<Incarnation>,
) -> Result<(), CommandError> {
    let latest = map
        .node(identity.id())
        .map(|node| node.identity.incarnation);
    match latest {
        Some(latest) if home != Some(latest) && latest != identity.incarnation => {
            Err(CommandError::OldDirectory { latest })
        }
        _ => Ok(()),
    }
}

/// Refuses a node whose name a living process has.
async fn refuse_a_second_life(
    inner: &Inner,
    map: &Map,
    identity: &Identity,
) -> Result<(), CommandError> {
    let lives = if identity.id() == inner.id() {
        identity.incarnation != inner.parts.identity.incarnation
    } else {
        twin::lives(inner, map, identity).await
    };
    if lives {
        Err(CommandError::IdentityInUse(identity.name.clone()))
    } else {
        Ok(())
    }
}
