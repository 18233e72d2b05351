//! This is the laws of resolution: replicas meet siblings in any grouping and any order, and all of
//! them must come to the same.

use super::random::Random;
use super::value::{self, Form};
use super::{Breach, Kind, Law, Subject, determinism, is_excused};
use crate::plugin::Resolver;
use crate::plugin::capture::{Blob, ResolutionCall, ResolvedForm, SiblingForm};
use crate::plugin::instance::Usage;
use soros_core::policy::{PolicyError, Resolution, Resolved, Sibling};

/// Up to so many siblings, every way to choose some of them is tried.
const CHOSEN_MAX: usize = 4;

/// What a reader sees.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    One(SiblingForm),
    All,
}

impl Outcome {
    fn is_like(&self, other: &Outcome) -> bool {
        match (self, other) {
            (Outcome::All, Outcome::All) => true,
            (Outcome::One(one), Outcome::One(other)) => {
                let is_value = one.value.is_some();
                one.value == other.value && (!is_value || one.content_type == other.content_type)
            }
            _ => false,
        }
    }

    fn words(&self) -> String {
        match self {
            Outcome::All => "all siblings".to_owned(),
            Outcome::One(one) => match &one.value {
                None => "a tombstone".to_owned(),
                Some(value) => format!("{:?}", String::from_utf8_lossy(&value.0)),
            },
        }
    }
}

type Asked<'a> = Subject<'a, Resolver>;

fn answer(policy: &Resolver, call: &ResolutionCall) -> Result<Resolved, PolicyError> {
    let siblings: Vec<Sibling<'_>> = call.siblings.iter().map(SiblingForm::borrowed).collect();
    policy.resolve(&call.key.0, &siblings)
}

/// What siblings become; all of them where the policy gives up, nothing where it fails.
fn outcome(subject: &mut Asked<'_>, key: &Blob, siblings: &[SiblingForm]) -> Option<Outcome> {
    let call = ResolutionCall {
        key: key.clone(),
        siblings: siblings.to_vec(),
        answer: None,
    };
    let last = siblings.iter().max_by_key(|one| (one.time, one.writer))?;
    Some(match subject.fresh(|policy| answer(policy, &call)) {
        Ok(Resolved::Keep(place)) => Outcome::One(siblings.get(place)?.clone()),
        Ok(Resolved::Tombstone) => Outcome::One(SiblingForm {
            value: None,
            meta: Vec::new(),
            ..last.clone()
        }),
        Ok(Resolved::Value(merged)) => Outcome::One(SiblingForm {
            value: Some(Blob(merged.bytes)),
            content_type: merged.content_type,
            meta: Vec::new(),
            ..last.clone()
        }),
        Ok(Resolved::KeepAll) | Err(PolicyError::GaveUp(_)) => Outcome::All,
        Err(_) => return None,
    })
}

fn check_validity(subject: &mut Asked<'_>, call: &ResolutionCall) -> Result<(), Breach> {
    match subject.fresh(|policy| answer(policy, call)) {
        Err(error) if !is_excused(&error) => Err(Breach(error.to_string())),
        _ => Ok(()),
    }
}

fn check_order(subject: &mut Asked<'_>, call: &ResolutionCall) -> Result<(), Breach> {
    let all = outcome(subject, &call.key, &call.siblings);
    let turned: Vec<SiblingForm> = call.siblings.iter().rev().cloned().collect();
    let turned = outcome(subject, &call.key, &turned);
    compare(all, turned, "turned round, the same siblings become")
}

fn check_idempotence(subject: &mut Asked<'_>, call: &ResolutionCall) -> Result<(), Breach> {
    let all = outcome(subject, &call.key, &call.siblings);
    let Some(Outcome::One(one)) = &all else {
        return Ok(());
    };
    let mut siblings = call.siblings.clone();
    siblings.push(one.clone());
    let again = outcome(subject, &call.key, &siblings);
    compare(
        all,
        again,
        "beside what they become, the same siblings become",
    )
}

fn check_regrouping(subject: &mut Asked<'_>, call: &ResolutionCall) -> Result<(), Breach> {
    let siblings = &call.siblings;
    let Some(all) = outcome(subject, &call.key, siblings) else {
        return Ok(());
    };
    for choice in choices(siblings.len()) {
        let chosen = |at: usize| choice & (1 << at) != 0;
        let pick = |wanted: bool| {
            let places = (0..siblings.len()).filter(move |at| chosen(*at) == wanted);
            places.map(|at| siblings[at].clone()).collect::<Vec<_>>()
        };
        let first = pick(true);
        let Some(Outcome::One(one)) = outcome(subject, &call.key, &first) else {
            continue;
        };
        let mut rest = pick(false);
        rest.push(one);
        let grouped = outcome(subject, &call.key, &rest);
        let places: Vec<String> = (0..siblings.len())
            .filter(|at| chosen(*at))
            .map(|at| at.to_string())
            .collect();
        let words = format!("with {} resolved first they become", places.join(" and "));
        compare(Some(all.clone()), grouped, &words)?;
    }
    Ok(())
}

/// Which siblings are resolved first: some, but not all of them, and more than one.
fn choices(siblings: usize) -> Vec<u32> {
    if siblings <= CHOSEN_MAX {
        let all = (1_u32 << siblings) - 1;
        (1..all).filter(|choice| 1 < choice.count_ones()).collect()
    } else {
        (2..siblings).map(|first| (1_u32 << first) - 1).collect()
    }
}

fn compare(all: Option<Outcome>, other: Option<Outcome>, words: &str) -> Result<(), Breach> {
    let (Some(all), Some(other)) = (all, other) else {
        return Ok(());
    };
    if all.is_like(&other) {
        return Ok(());
    }
    Err(Breach(format!(
        "all at once they become {}; {words} {}",
        all.words(),
        other.words()
    )))
}

fn sibling(random: &mut Random, form: Form) -> SiblingForm {
    let value = (!random.once_in(6)).then(|| Blob(form.value(random)));
    let name = random.pick(&["a", "b"]).to_owned();
    SiblingForm {
        time: random.pick(&[0, 1, 1, 2, 2, 3, u64::MAX]),
        writer: random.pick(&[0, 1, 1, 2, u64::MAX]),
        value,
        content_type: form.content_type(random).to_owned(),
        meta: if random.once_in(8) {
            vec![(name, "x".to_owned())]
        } else {
            Vec::new()
        },
    }
}

impl Kind for Resolver {
    type Call = ResolutionCall;
    type Answer = Resolved;
    const LAWS: &'static [Law<Resolver>] = &[
        ("validity", check_validity),
        ("determinism", determinism),
        ("order", check_order),
        ("idempotence", check_idempotence),
        ("regrouping", check_regrouping),
    ];

    fn call(&self, random: &mut Random) -> ResolutionCall {
        let form = Form::any(random);
        let count = random.pick(&[2, 2, 3, 3, 4, 6]);
        ResolutionCall {
            key: Blob(random.pick(&["k", "a/b", "\u{0}"]).into()),
            siblings: (0..count).map(|_| sibling(random, form)).collect(),
            answer: None,
        }
    }

    fn ask(&self, call: &ResolutionCall) -> Result<Resolved, PolicyError> {
        answer(self, call)
    }

    fn smaller(call: &ResolutionCall) -> Vec<ResolutionCall> {
        let with = |change: &dyn Fn(&mut ResolutionCall)| {
            let mut call = call.clone();
            change(&mut call);
            call
        };
        let mut smaller = vec![with(&|call| call.key = Blob(b"k".to_vec()))];
        for at in 0..call.siblings.len() {
            if 2 < call.siblings.len() {
                smaller.push(with(&|call| drop(call.siblings.remove(at))));
            }
            smaller.push(with(&|call| call.siblings[at].meta.clear()));
            for number in [0, 1, 2] {
                if number < call.siblings[at].time {
                    smaller.push(with(&|call| call.siblings[at].time = number));
                }
                if number < call.siblings[at].writer {
                    smaller.push(with(&|call| call.siblings[at].writer = number));
                }
            }
            let value = call.siblings[at].value.as_ref();
            for bytes in value.map_or(Vec::new(), |value| value::smaller(&value.0)) {
                let bytes = Some(Blob(bytes));
                smaller.push(with(&|call| call.siblings[at].value.clone_from(&bytes)));
            }
        }
        smaller
    }

    fn expected(call: &ResolutionCall) -> Option<serde_json::Value> {
        serde_json::to_value(call.answer.as_ref()?).ok()
    }

    fn found(answer: Result<Resolved, PolicyError>) -> Option<serde_json::Value> {
        serde_json::to_value(ResolvedForm::from(answer)).ok()
    }
    fn usage(&self) -> Usage {
        Resolver::usage(self)
    }
}
