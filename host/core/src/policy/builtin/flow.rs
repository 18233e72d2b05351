//! This is the cheapest way to send as much as possible through a network: arcs with room and
//! cost, filled along one cheapest path after another.

use std::collections::VecDeque;

/// An arc; its reverse, along which flow is taken back, stands beside it.
struct Arc {
    to: usize,
    room: u32,
    cost: i64,
}

/// Names an arc of a network.
#[derive(Clone, Copy, Debug)]
pub(super) struct ArcId(usize);

/// Vertices, by number, and the arcs between them.
pub(super) struct Network {
    arcs: Vec<Arc>,
    leaving: Vec<Vec<usize>>,
}

impl Network {
    /// A network of `vertices` and no arc.
    pub(super) fn new(vertices: usize) -> Network {
        Network {
            arcs: Vec::new(),
            leaving: vec![Vec::new(); vertices],
        }
    }

    /// Adds an arc with `room`, of which each unit costs `cost`.
    pub(super) fn connect(&mut self, from: usize, to: usize, room: u32, cost: i64) -> ArcId {
        let id = self.arcs.len();
        self.arcs.push(Arc { to, room, cost });
        self.arcs.push(Arc {
            to: from,
            room: 0,
            cost: -cost,
        });
        self.leaving[from].push(id);
        self.leaving[to].push(id + 1);
        ArcId(id)
    }

    /// How much goes through an arc.
    pub(super) fn carried(&self, arc: ArcId) -> u32 {
        self.arcs[arc.0 + 1].room
    }

    /// Sends as much as possible from `source` to `sink`, at the least cost, and says how much.
    pub(super) fn fill(&mut self, source: usize, sink: usize) -> u32 {
        let mut sent = 0;
        while let Some(path) = self.cheapest_path(source, sink) {
            let room = path
                .iter()
                .map(|&arc| self.arcs[arc].room)
                .min()
                .unwrap_or(0);
            for arc in path {
                self.arcs[arc].room -= room;
                self.arcs[arc ^ 1].room += room;
            }
            sent += room;
        }
        sent
    }

    /// The arcs of a cheapest path with room, from its end (Bellman, Ford and Moore).
    fn cheapest_path(&self, source: usize, sink: usize) -> Option<Vec<usize>> {
        let mut reached: Vec<Option<(i64, usize)>> = vec![None; self.leaving.len()];
        reached[source] = Some((0, usize::MAX));
        let mut waiting = vec![false; self.leaving.len()];
        let mut queue = VecDeque::from([source]);
        while let Some(vertex) = queue.pop_front() {
            waiting[vertex] = false;
            let cost_here = reached[vertex].map_or(0, |(cost, _)| cost);
            for &id in &self.leaving[vertex] {
                let arc = &self.arcs[id];
                let cost = cost_here + arc.cost;
                let is_cheaper = reached[arc.to].is_none_or(|(known, _)| cost < known);
                if 0 < arc.room && is_cheaper {
                    reached[arc.to] = Some((cost, id));
                    if !std::mem::replace(&mut waiting[arc.to], true) {
                        queue.push_back(arc.to);
                    }
                }
            }
        }
        let mut path = Vec::new();
        let mut vertex = sink;
        while vertex != source {
            let (_, arc) = reached[vertex]?;
            path.push(arc);
            vertex = self.arcs[arc ^ 1].to;
        }
        Some(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_flow_back_where_that_is_cheaper() {
        let mut network = Network::new(4);
        let near = network.connect(0, 1, 1, 1);
        let far = network.connect(0, 2, 1, 5);
        let across = network.connect(1, 2, 1, 0);
        let last = network.connect(1, 3, 1, 4);
        network.connect(2, 3, 2, 1);
        assert_eq!(network.fill(0, 3), 2);
        let carried = [near, far, across, last].map(|arc| network.carried(arc));
        assert_eq!(carried, [1, 1, 1, 0]);
    }

    #[test]
    fn stops_at_the_narrowest_cut() {
        let mut network = Network::new(3);
        network.connect(0, 1, 7, 0);
        let narrow = network.connect(1, 2, 3, 0);
        assert_eq!(network.fill(0, 2), 3);
        assert_eq!(network.carried(narrow), 3);
        assert_eq!(network.fill(0, 2), 0);
    }
}
