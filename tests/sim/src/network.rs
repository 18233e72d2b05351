//! This is the network: frames are lost, repeated and late, and nodes are cut off from each other
//! in one direction or both.

use crate::moment::MILLI;
use crate::random::Random;
use soros_core::id::NodeId;
use std::collections::BTreeSet;

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// How many of a thousand frames are lost.
    pub loss: u64,
    /// How many of a thousand frames arrive twice.
    pub repeats: u64,
    /// The usual delay, in microseconds; some take many times as long.
    pub delay: u64,
}

impl Weather {
    /// Nothing is lost, and all is fast.
    pub const CLEAR: Weather = Weather {
        loss: 0,
        repeats: 0,
        delay: MILLI / 2,
    };
}

/// The network between the nodes.
#[derive(Debug)]
pub struct Network {
    weather: Weather,
    cuts: BTreeSet<(NodeId, NodeId)>,
    /// Nodes that hear and are heard by each other only.
    island: BTreeSet<NodeId>,
}

impl Network {
    /// A network without cuts.
    #[must_use]
    pub fn new(weather: Weather) -> Network {
        let (cuts, island) = (BTreeSet::new(), BTreeSet::new());
        Network {
            weather,
            cuts,
            island,
        }
    }

    /// Changes the weather.
    pub fn set_weather(&mut self, weather: Weather) {
        self.weather = weather;
    }

    /// Cuts what `from` sends to `to`.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cuts.insert((from, to));
    }

    /// Cuts `nodes` off from all others, beside other cuts, and ends the last such part; none ends
    /// it.
    pub fn part(&mut self, nodes: &[NodeId]) {
        self.island = nodes.iter().copied().collect();
    }

    /// Ends all cuts of one node from another.
    pub fn mend(&mut self) {
        self.cuts.clear();
    }

    /// After how many microseconds a frame arrives, each time that it does.
    pub fn deliveries(&self, from: NodeId, to: NodeId, random: &mut Random) -> Vec<u64> {
        let parted = self.island.contains(&from) != self.island.contains(&to);
        if parted || self.cuts.contains(&(from, to)) {
            return Vec::new();
        }
        let copies = match () {
            () if random.chance(self.weather.loss) => 0,
            () if random.chance(self.weather.repeats) => 2,
            () => 1,
        };
        let delay = |_| MILLI / 10 + random.tailed(self.weather.delay);
        (0..copies).map(delay).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_one_way_until_it_is_mended() {
        let mut network = Network::new(Weather::CLEAR);
        let mut random = Random::new(1);
        network.cut(NodeId(1), NodeId(2));
        assert!(
            network
                .deliveries(NodeId(1), NodeId(2), &mut random)
                .is_empty()
        );
        assert_eq!(
            network.deliveries(NodeId(2), NodeId(1), &mut random).len(),
            1
        );
        network.mend();
        assert_eq!(
            network.deliveries(NodeId(1), NodeId(2), &mut random).len(),
            1
        );
    }

    #[test]
    fn bad_weather_loses_repeats_and_reorders() {
        let weather = Weather {
            loss: 300,
            repeats: 300,
            delay: MILLI,
        };
        let network = Network::new(weather);
        let mut random = Random::new(2);
        let mut counts = [0; 3];
        let mut delays = BTreeSet::new();
        for _ in 0..300 {
            let deliveries = network.deliveries(NodeId(1), NodeId(2), &mut random);
            counts[deliveries.len()] += 1;
            delays.extend(deliveries);
        }
        assert!(counts.iter().all(|count| 30 < *count), "{counts:?}");
        assert!(100 < delays.len());
    }
}
