//! This is how a copy finds room when no holder with room may take it: along a path of exchanges.
//! One partition takes a copy on a holder that is full, another moves a copy from there to the next
//! holder, and so on to one with room.
//!
//! The rows a partition may have and the loads holders may have are two matroids, and the path is
//! the augmenting path of their weighted intersection: the cheapest, and of the cheapest one with
//! the fewest exchanges. (That it has the fewest makes it valid though a partition may exchange
//! twice on it; that it is the cheapest keeps the rows the cheapest of their size. See Schrijver,
//! *Combinatorial Optimization*, chapter 41.)

use crate::assignment::Assignment;

/// A step of a path: what it costs, and the partition that takes it.
#[derive(Clone, Copy, Debug)]
struct Step {
    cost: i64,
    partition: usize,
}

/// All steps that are worth considering: of each from here to there, a cheapest.
struct Steps {
    /// To each holder, from a partition that lacks a copy.
    starts: Vec<Option<Step>>,
    /// From each holder to each other.
    moves: Vec<Vec<Option<Step>>>,
}

impl Steps {
    fn of(assignment: &Assignment) -> Steps {
        let holders = assignment.loads.len();
        let mut steps = Steps {
            starts: vec![None; holders],
            moves: vec![vec![None; holders]; holders],
        };
        // The holders to which no step is known yet, from each holder, where the copy that leaves
        // costs 0 and where it costs 1. One known step is enough: others are cheaper only to
        // holders that had the partition before.
        let mut unknown = vec![[(0..holders).collect::<Vec<_>>(), (0..holders).collect()]; holders];
        for (partition, row) in assignment.rows.iter().enumerate() {
            if row.len() < assignment.rules.shape.copies {
                steps.offer_starts(assignment, partition);
            }
            for &from in row {
                let leaving = usize::from(assignment.cost(partition, from) == 1);
                steps.offer_returns(assignment, partition, from);
                steps.offer_moves(assignment, partition, from, &mut unknown[from][leaving]);
            }
        }
        steps
    }

    fn offer_starts(&mut self, assignment: &Assignment, partition: usize) {
        let row = &assignment.rows[partition];
        for (to, start) in self.starts.iter_mut().enumerate() {
            if !row.contains(&to) && assignment.rules.admit(row, None, to) {
                let cost = assignment.cost(partition, to);
                improve(start, Step { cost, partition });
            }
        }
    }

    /// Offers the steps to holders that had the partition before: one cheaper than the others.
    fn offer_returns(&mut self, assignment: &Assignment, partition: usize, from: usize) {
        let row = &assignment.rows[partition];
        for &to in assignment.old_row(partition) {
            if !row.contains(&to) && assignment.rules.admit(row, Some(from), to) {
                let cost = -assignment.cost(partition, from);
                improve(&mut self.moves[from][to], Step { cost, partition });
            }
        }
    }

    /// Offers the steps to holders in `unknown`, and takes out those that are possible.
    fn offer_moves(
        &mut self,
        assignment: &Assignment,
        partition: usize,
        from: usize,
        unknown: &mut Vec<usize>,
    ) {
        let row = &assignment.rows[partition];
        unknown.retain(|&to| {
            let is_possible = !row.contains(&to) && assignment.rules.admit(row, Some(from), to);
            if is_possible {
                let cost = assignment.cost(partition, to) - assignment.cost(partition, from);
                improve(&mut self.moves[from][to], Step { cost, partition });
            }
            !is_possible
        });
    }
}

fn improve(known: &mut Option<Step>, step: Step) {
    if known.is_none_or(|known| step.cost < known.cost) {
        *known = Some(step);
    }
}

/// The cheapest way to a holder: what it costs, the last step, and where that comes from.
#[derive(Clone, Copy, Debug)]
struct Way {
    cost: i64,
    step: Step,
    from: Option<usize>,
}

/// The cheapest ways to all holders, of the cheapest those with the fewest steps (Bellman and
/// Ford, one step longer in each round), and the round in which each was found.
fn ways(steps: &Steps) -> Vec<Option<(Way, usize)>> {
    let start = |step: Step| {
        (
            Way {
                cost: step.cost,
                step,
                from: None,
            },
            0,
        )
    };
    let mut ways: Vec<_> = steps.starts.iter().map(|step| step.map(start)).collect();
    let mut reached: Vec<usize> = (0..ways.len())
        .filter(|holder| ways[*holder].is_some())
        .collect();
    let mut round = 0;
    while !reached.is_empty() && round < ways.len() {
        round += 1;
        let mut longer = ways.clone();
        for from in std::mem::take(&mut reached) {
            let Some((way, _)) = ways[from] else { continue };
            for (to, step) in steps.moves[from].iter().enumerate() {
                let Some(step) = *step else { continue };
                let cost = way.cost + step.cost;
                if longer[to].is_none_or(|(known, _): (Way, usize)| cost < known.cost) {
                    longer[to] = Some((
                        Way {
                            cost,
                            step,
                            from: Some(from),
                        },
                        round,
                    ));
                    reached.push(to);
                }
            }
        }
        reached.sort_unstable();
        reached.dedup();
        ways = longer;
    }
    ways
}

impl Assignment {
    /// Adds one copy along a cheapest path, if there is one that costs at most `cost_max`.
    pub(crate) fn exchange(&mut self, cost_max: Option<i64>) -> bool {
        if self
            .rows
            .iter()
            .all(|row| row.len() == self.rules.shape.copies)
        {
            return false;
        }
        let ways = ways(&Steps::of(self));
        let with_room = (0..ways.len()).filter(|holder| self.has_room(*holder));
        let ends = with_room.filter_map(|holder| ways[holder].map(|way| (holder, way)));
        let end = ends.min_by_key(|(holder, (way, round))| (way.cost, *round, *holder));
        match end {
            Some((holder, (way, _))) if cost_max.is_none_or(|most| way.cost <= most) => {
                self.follow(&ways, holder);
                true
            }
            _ => false,
        }
    }

    /// Takes the steps of the path that ends at `last`.
    fn follow(&mut self, ways: &[Option<(Way, usize)>], last: usize) {
        self.loads[last] += 1;
        let mut to = last;
        while let Some((way, _)) = ways[to] {
            let row = &mut self.rows[way.step.partition];
            row.push(to);
            let Some(from) = way.from else { return };
            row.retain(|holder| *holder != from);
            to = from;
        }
    }
}
