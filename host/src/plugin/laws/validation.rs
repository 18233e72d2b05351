//! This is the laws of validation: a verdict is about one write and nothing else, whichever others
//! are asked about in the same call.

use super::random::Random;
use super::value::{self, Form};
use super::{Breach, Kind, Law, Subject, determinism, is_excused};
use crate::plugin::Validator;
use crate::plugin::capture::{Blob, ChangeForm, ValidationCall, VerdictForm};
use crate::plugin::instance::Usage;
use soros_core::policy::{Change, PolicyError, Validation, Verdict};

/// Values above this are not made up.
const VALUE_BYTES_MAX: u32 = 16 << 10;

type Asked<'a> = Subject<'a, Validator>;

fn verdicts(policy: &Validator, changes: &[ChangeForm]) -> Result<Vec<Verdict>, PolicyError> {
    let changes: Vec<Change<'_>> = changes.iter().map(ChangeForm::borrowed).collect();
    policy.check(&changes)
}

fn check_validity(subject: &mut Asked<'_>, call: &ValidationCall) -> Result<(), Breach> {
    match subject.fresh(|policy| verdicts(policy, &call.changes)) {
        Err(error) if !is_excused(&error) => Err(Breach(error.to_string())),
        _ => Ok(()),
    }
}

/// `check([a, b])` is `check([a])` and `check([b])`.
fn check_batch(subject: &mut Asked<'_>, call: &ValidationCall) -> Result<(), Breach> {
    let Ok(all) = subject.fresh(|policy| verdicts(policy, &call.changes)) else {
        return Ok(());
    };
    for (at, change) in call.changes.iter().enumerate() {
        let alone = subject.fresh(|policy| verdicts(policy, std::slice::from_ref(change)));
        if alone.as_ref().is_ok_and(|alone| alone[..] == all[at..=at]) {
            continue;
        }
        let words = |verdict| Validator::found(verdict).unwrap_or_default();
        return Err(Breach(format!(
            "of change {at} it says {} among the others, and {} when it is alone",
            words(Ok(vec![all[at].clone()])),
            words(alone)
        )));
    }
    Ok(())
}

fn change(policy: &Validator, random: &mut Random, form: Form) -> ChangeForm {
    let wants = policy.wants();
    let prefix = match wants.prefixes.len() {
        0 => Vec::new(),
        count => wants.prefixes[random.below(count)].clone(),
    };
    let name = random.pick(&["k", "a/b", "1", "\u{0}", "ä"]).as_bytes();
    let value = if random.once_in(32) {
        let most = wants.value_bytes_max.min(VALUE_BYTES_MAX);
        vec![b'a'; most as usize + random.below(2)]
    } else {
        form.value(random)
    };
    let is_delete = wants.deletes && random.once_in(5);
    let current = wants.current && !random.once_in(3);
    let current = current.then(|| {
        if random.once_in(4) {
            value.clone()
        } else {
            form.value(random)
        }
    });
    ChangeForm {
        bucket: random.pick(&["bucket", "b"]).to_owned(),
        key: Blob([&prefix, name].concat()),
        content_type: form.content_type(random).to_owned(),
        value: (!is_delete).then_some(Blob(value)),
        current: current.map(Blob),
        principal: random.pick(&["", "", "somebody"]).to_owned(),
    }
}

/// What is a little simpler than a change.
fn simpler(change: &ChangeForm) -> Vec<ChangeForm> {
    let with = |edit: &dyn Fn(&mut ChangeForm)| {
        let mut change = change.clone();
        edit(&mut change);
        change
    };
    let mut simpler = Vec::new();
    if change.current.is_some() {
        simpler.push(with(&|change| change.current = None));
    }
    if !change.principal.is_empty() {
        simpler.push(with(&|change| change.principal.clear()));
    }
    let value = change.value.as_ref();
    for bytes in value.map_or(Vec::new(), |value| value::smaller(&value.0)) {
        let bytes = Some(Blob(bytes));
        simpler.push(with(&|change| change.value.clone_from(&bytes)));
    }
    let current = change.current.as_ref();
    for bytes in current.map_or(Vec::new(), |value| value::smaller(&value.0)) {
        let bytes = Some(Blob(bytes));
        simpler.push(with(&|change| change.current.clone_from(&bytes)));
    }
    simpler
}

impl Kind for Validator {
    type Call = ValidationCall;
    type Answer = Vec<Verdict>;
    const LAWS: &'static [Law<Validator>] = &[
        ("validity", check_validity),
        ("determinism", determinism),
        ("batch", check_batch),
    ];

    fn call(&self, random: &mut Random) -> ValidationCall {
        let form = Form::any(random);
        let count = random.pick(&[1, 2, 2, 3, 5]);
        let mut changes: Vec<ChangeForm> = (0..count).map(|_| change(self, random, form)).collect();
        if random.once_in(4) {
            changes.push(changes[0].clone());
        }
        ValidationCall {
            changes,
            answer: None,
        }
    }

    fn ask(&self, call: &ValidationCall) -> Result<Vec<Verdict>, PolicyError> {
        verdicts(self, &call.changes)
    }

    fn smaller(call: &ValidationCall) -> Vec<ValidationCall> {
        let mut smaller = Vec::new();
        for at in 0..call.changes.len() {
            if 1 < call.changes.len() {
                let mut less = call.clone();
                less.changes.remove(at);
                smaller.push(less);
            }
        }
        for at in 0..call.changes.len() {
            smaller.extend(simpler(&call.changes[at]).into_iter().map(|change| {
                let mut less = call.clone();
                less.changes[at] = change;
                less
            }));
        }
        smaller
    }

    fn expected(call: &ValidationCall) -> Option<serde_json::Value> {
        serde_json::to_value(call.answer.as_ref()?).ok()
    }

    fn found(answer: Result<Vec<Verdict>, PolicyError>) -> Option<serde_json::Value> {
        match answer {
            Ok(verdicts) => {
                let verdicts = verdicts.into_iter().map(VerdictForm::from);
                serde_json::to_value(verdicts.collect::<Vec<_>>()).ok()
            }
            Err(error) => Some(error.to_string().into()),
        }
    }

    fn usage(&self) -> Usage {
        Validator::usage(self)
    }
}
