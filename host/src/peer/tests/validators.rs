//! These tests are about validators on the way of a write: what they are shown, what their word
//! does, and what becomes of a write when one fails.

use super::*;
use soros_core::map::plugin::{OnFailure, ValidatorUse};
use soros_core::policy::{Change as Asked, PolicyError, Refusal, Validation, Verdict, Wants};

type Judge = fn(&Asked<'_>) -> Result<Verdict, PolicyError>;

/// A validator that answers by a function, and remembers what it was shown.
struct Fake {
    wants: Wants,
    answer: Judge,
    shown: Mutex<Vec<Shown>>,
}

/// A value as text, and the current one.
type Shown = (Option<String>, Option<String>);

impl Validation for Fake {
    fn wants(&self) -> &Wants {
        &self.wants
    }

    fn check(&self, changes: &[Asked<'_>]) -> Result<Vec<Verdict>, PolicyError> {
        let text =
            |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let shown = changes
            .iter()
            .map(|change| (text(change.value), text(change.current)));
        self.shown.lock().expect("no test panicked").extend(shown);
        changes.iter().map(self.answer).collect()
    }
}

fn fake(current: bool, answer: Judge) -> Arc<Fake> {
    let wants = Wants {
        prefixes: Vec::new(),
        current,
        deletes: true,
        value_bytes_max: u32::MAX,
    };
    Arc::new(Fake {
        wants,
        answer,
        shown: Mutex::default(),
    })
}

const REFUSE: Judge = |_| {
    Ok(Verdict::Refuse(Refusal {
        code: "no".to_owned(),
        message: "not this".to_owned(),
        pointer: None,
    }))
};

fn fail(_: &Asked<'_>) -> Result<Verdict, PolicyError> {
    Err(PolicyError::GaveUp("broken".to_owned()))
}

/// A cluster whose bucket [`RESOLVED`] has these validators.
async fn guarded(validators: &[(&Arc<Fake>, OnFailure)]) -> Cluster {
    let cluster = Cluster::start().await;
    guard(&cluster, validators).await;
    cluster
}

async fn guard(cluster: &Cluster, validators: &[(&Arc<Fake>, OnFailure)]) {
    let plugin: soros_core::map::plugin::PluginName = "immutable".parse().expect("a name");
    let used = |(_, on_failure): &(&Arc<Fake>, OnFailure)| ValidatorUse {
        plugin: plugin.clone(),
        config: soros_core::map::json::Json::empty(),
        on_failure: *on_failure,
    };
    let config = BucketConfig {
        validators: validators.iter().map(used).collect(),
        ..BucketConfig::default()
    };
    let name = "default".parse().expect("a bucket's name");
    cluster.change(&Change::PutBucket { name, config }).await;
    let loaded = |(fake, on_failure): &(&Arc<Fake>, OnFailure)| BucketValidator {
        plugin: plugin.clone(),
        on_failure: *on_failure,
        policy: Ok((
            "1.0.0".parse().expect("a version"),
            Arc::clone(fake) as Arc<dyn Validation>,
        )),
    };
    let loaded = validators.iter().map(loaded).collect();
    let mut validators = cluster
        .policies
        .validators
        .lock()
        .expect("no test panicked");
    *validators = Some(Arc::new(loaded));
}

#[tokio::test]
async fn a_refusal_says_who_and_why_and_nothing_is_stored() {
    let no = fake(false, REFUSE);
    let cluster = guarded(&[(&no, OnFailure::Open)]).await;
    let key = target(RESOLVED, "k");
    for (value, peer) in [(Some("a"), 0), (None, 1)] {
        let refused = cluster.put(peer, &key, value, Basis::Unsaid).await;
        let Err(OperationError::Rejected(rejection)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(rejection.plugin.as_str(), "immutable");
        assert_eq!(rejection.refusal.code, "no");
    }
    assert!(cluster.values(2, &key).await.is_empty());
    cluster.stop();
}

#[tokio::test]
async fn validators_see_each_other_s_bytes_in_their_order() {
    let louder = fake(false, |change| {
        let value = change.value.unwrap_or_default();
        Ok(Verdict::AcceptAs([value, b"!"].concat()))
    });
    let quiet = fake(false, |_| Ok(Verdict::Accept));
    let cluster = guarded(&[
        (&louder, OnFailure::Closed),
        (&louder, OnFailure::Closed),
        (&quiet, OnFailure::Closed),
    ])
    .await;
    let key = target(RESOLVED, "k");
    let written = cluster.put(0, &key, Some("a"), Basis::Unsaid).await;
    let written = written.expect("acknowledged");
    assert_eq!(written.versions, soros_core::dot_set::DotSet::default());
    assert_eq!(cluster.values(1, &key).await, ["a!!"]);
    let shown = quiet.shown.lock().expect("no test panicked").clone();
    assert_eq!(shown, [(Some("a!!".to_owned()), None)]);
    cluster.stop();
}

#[tokio::test]
async fn the_current_value_is_what_a_quorum_reads() {
    let curious = fake(true, |_| Ok(Verdict::Accept));
    let cluster = guarded(&[(&curious, OnFailure::Closed)]).await;
    let key = target(RESOLVED, "k");
    for (peer, value) in [Some("a"), Some("b"), None, Some("c")]
        .into_iter()
        .enumerate()
    {
        let written = cluster.put(peer % 3, &key, value, Basis::Unsaid).await;
        written.expect("acknowledged");
        // The next one writes over what its own coordinator has.
        cluster.converge().await;
    }
    let text = |text: &str| Some(text.to_owned());
    let shown = curious.shown.lock().expect("no test panicked").clone();
    let expected = [
        (text("a"), None),
        (text("b"), text("a")),
        (None, text("b")),
        (text("c"), None),
    ];
    assert_eq!(shown, expected);
    cluster.cut(1);
    cluster.cut(2);
    let alone = cluster.put(0, &key, Some("d"), Basis::Unsaid).await;
    let few = OperationError::QuorumUnavailable {
        reached: 1,
        needed: 2,
    };
    assert_eq!(alone, Err(few));
    cluster.stop();
}

#[tokio::test]
async fn a_validator_that_fails_closes_the_bucket_or_leaves_it_open() {
    let broken = fake(false, fail);
    let cluster = guarded(&[(&broken, OnFailure::Closed)]).await;
    let key = target(RESOLVED, "k");
    let refused = cluster.put(0, &key, Some("a"), Basis::Unsaid).await;
    let Err(OperationError::PolicyUnavailable { plugin, reason }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(plugin.as_str(), "immutable");
    assert!(reason.contains("broken"), "{reason}");
    guard(&cluster, &[(&broken, OnFailure::Open)]).await;
    let taken = cluster.put(0, &key, Some("b"), Basis::Unsaid).await;
    taken.expect("the bucket is open");
    let no = fake(false, REFUSE);
    guard(
        &cluster,
        &[(&broken, OnFailure::Open), (&no, OnFailure::Open)],
    )
    .await;
    let refused = cluster.put(0, &key, Some("c"), Basis::Unsaid).await;
    assert!(matches!(refused, Err(OperationError::Rejected(_))));
    assert_eq!(cluster.values(1, &key).await, ["b"]);
    cluster.stop();
}

#[tokio::test]
async fn a_validator_that_cannot_be_asked_refuses_only_what_it_wants() {
    let quiet = fake(false, |_| Ok(Verdict::Accept));
    let cluster = guarded(&[(&quiet, OnFailure::Closed)]).await;
    let unusable = |wants| {
        let policy = Err(Unusable {
            reason: "in quarantine".to_owned(),
            wants,
        });
        let validator = BucketValidator {
            plugin: "immutable".parse().expect("a name"),
            on_failure: OnFailure::Closed,
            policy,
        };
        let mut validators = cluster
            .policies
            .validators
            .lock()
            .expect("no test panicked");
        *validators = Some(Arc::new(vec![validator]));
    };
    unusable(Some(Wants {
        prefixes: vec![b"a/".to_vec()],
        current: true,
        deletes: false,
        value_bytes_max: 1,
    }));
    let [wanted, other] = ["a/k", "b/k"].map(|key| target(RESOLVED, key));
    let closed = |answer| matches!(answer, Err(OperationError::PolicyUnavailable { .. }));
    let refused = cluster.put(0, &wanted, Some("b"), Basis::Unsaid).await;
    assert!(closed(refused));
    for (key, value) in [(&wanted, None), (&other, Some("large"))] {
        let taken = cluster.put(0, key, value, Basis::Unsaid).await;
        taken.expect("it never wanted this");
    }
    unusable(None);
    let refused = cluster.put(0, &other, Some("b"), Basis::Unsaid).await;
    assert!(closed(refused));
    cluster.stop();
}

#[tokio::test]
async fn a_node_that_has_not_loaded_them_takes_no_write() {
    let no = fake(false, |_| Ok(Verdict::Accept));
    let cluster = guarded(&[(&no, OnFailure::Open)]).await;
    *cluster
        .policies
        .validators
        .lock()
        .expect("no test panicked") = None;
    let key = target(RESOLVED, "k");
    let refused = cluster.put(0, &key, Some("a"), Basis::Unsaid).await;
    assert_eq!(refused, Err(OperationError::NotReady));
    let plain = target(PLAIN, "k");
    let taken = cluster.put(0, &plain, Some("a"), Basis::Unsaid).await;
    taken.expect("a bucket without validators");
    cluster.stop();
}

#[tokio::test]
async fn a_value_that_a_validator_makes_keeps_to_the_bucket_s_limit() {
    let large = fake(false, |_| Ok(Verdict::AcceptAs(vec![b'x'; 5 << 20])));
    let cluster = guarded(&[(&large, OnFailure::Closed)]).await;
    let key = target(RESOLVED, "k");
    let refused = cluster.put(0, &key, Some("a"), Basis::Unsaid).await;
    assert!(matches!(
        refused,
        Err(OperationError::PolicyUnavailable { .. })
    ));
    cluster.stop();
}
