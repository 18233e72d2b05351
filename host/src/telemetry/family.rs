//! This is a figure with labels whose values are known only as they come, as the name of a plugin.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

/// The most label sets of one family; what comes after is counted under `other`.
const LABEL_SETS_MAX: usize = 1_000;

/// The same figure for each set of label values. Who notes often keeps what [`Family::with`] gave.
#[derive(Debug)]
pub struct Family<T> {
    labels: &'static [&'static str],
    figures: RwLock<BTreeMap<Vec<String>, Arc<T>>>,
    new: fn() -> T,
}

impl<T> Family<T> {
    /// A family with these labels, whose figures are made by `new`.
    pub(super) fn new(labels: &'static [&'static str], new: fn() -> T) -> Family<T> {
        Family {
            labels,
            figures: RwLock::default(),
            new,
        }
    }

    /// The figure of these label values, one for each label of the family, in its order.
    ///
    /// # Panics
    /// When there are more or fewer values than labels.
    #[must_use]
    pub fn with(&self, values: &[&str]) -> Arc<T> {
        assert_eq!(
            values.len(),
            self.labels.len(),
            "a value for each of {:?}",
            self.labels
        );
        let key: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        if let Some(figure) = self.read().get(&key) {
            return Arc::clone(figure);
        }
        self.add(key)
    }

    fn add(&self, key: Vec<String>) -> Arc<T> {
        let mut figures = self.figures.write().unwrap_or_else(PoisonError::into_inner);
        let is_full = LABEL_SETS_MAX <= figures.len() && !figures.contains_key(&key);
        let key = if is_full {
            vec!["other".to_owned(); self.labels.len()]
        } else {
            key
        };
        Arc::clone(figures.entry(key).or_insert_with(|| Arc::new((self.new)())))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Vec<String>, Arc<T>>> {
        self.figures.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `each` with the labels and the figure of every set.
    pub(super) fn for_each(&self, mut each: impl FnMut(&[(&str, &str)], &T)) {
        for (values, figure) in self.read().iter() {
            let values = values.iter().map(String::as_str);
            let labels: Vec<(&str, &str)> = self.labels.iter().copied().zip(values).collect();
            each(&labels, figure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::number::Counter;
    use super::*;

    #[test]
    fn counts_what_is_too_many_under_other() {
        let family = Family::new(&["plugin"], Counter::default);
        for number in 0..LABEL_SETS_MAX + 7 {
            family.with(&[&number.to_string()]).increment();
        }
        family.with(&["3"]).increment();
        assert_eq!(family.with(&["3"]).get(), 2);
        assert_eq!(family.with(&["other"]).get(), 7);
    }
}
