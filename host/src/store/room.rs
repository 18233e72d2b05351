//! This is how much room a node's disk has, as whoever takes writes must know it: what is used,
//! judged by the operator's mark, and slow to say that there is room again, so that it does not
//! flap.

use std::path::Path;

/// How much room there is, from much to little.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Room {
    /// Everything is taken.
    #[default]
    Ample,
    /// The high mark is passed. New values are refused; reads, deletes and repair go on.
    High,
    /// Little is left. Repair that brings values waits, too, so that deletes still find room.
    Low,
}

impl Room {
    /// Whether values of clients are refused.
    #[must_use]
    pub fn is_full(self) -> bool {
        self != Room::Ample
    }
}

/// A part of a whole, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permille(u64);

impl Permille {
    const WHOLE: Permille = Permille(1_000);

    /// That many thousandths, the whole at most.
    #[must_use]
    pub fn new(thousandths: u64) -> Permille {
        Permille(thousandths).min(Permille::WHOLE)
    }

    /// The thousandths of a fraction, which is from 0 to 1.
    #[must_use]
    pub fn of_fraction(fraction: f64) -> Permille {
        // Of what is no number or less than none there is nothing.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Permille::new((fraction * 1_000.0).round() as u64)
    }

    /// How much of `whole` is taken by `part`. Of nothing, all is.
    fn of(part: u64, whole: u64) -> Permille {
        let thousandths = u128::from(part) * 1_000;
        let thousandths = thousandths.checked_div(u128::from(whole)).unwrap_or(1_000);
        Permille::new(u64::try_from(thousandths).unwrap_or(u64::MAX))
    }
}

/// How far below a mark there is room again. A disk that is just below it would flap.
const MARGIN: Permille = Permille(20);

/// When a disk counts as full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// How full it may be.
    pub high: Permille,
    /// How many bytes the store may hold, if that is less than the file system takes.
    pub capacity: Option<u64>,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks {
            high: Permille(900),
            capacity: None,
        }
    }
}

/// What is used of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The bytes that files may take on its file system.
    pub size: u64,
    /// Those of them that are free.
    pub free: u64,
    /// The bytes of what the store holds, without its journal.
    pub held: u64,
}

impl Usage {
    /// What is used of the file system that `path` is on. What the store holds is not known here.
    ///
    /// # Errors
    /// When the file system does not say.
    pub fn of_file_system(path: &Path) -> std::io::Result<Usage> {
        let disk = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        // What is set aside for the superuser is nothing that files may take.
        let used = bytes(disk.f_blocks.saturating_sub(disk.f_bfree));
        let free = bytes(disk.f_bavail);
        Ok(Usage {
            size: used.saturating_add(free),
            free,
            held: 0,
        })
    }

    fn fullness(&self, capacity: Option<u64>) -> Permille {
        let used = self.size.saturating_sub(self.free);
        let disk = Permille::of(used, self.size);
        capacity.map_or(disk, |capacity| disk.max(Permille::of(self.held, capacity)))
    }
}

/// How a disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// How much room there is.
    pub room: Room,
    /// What is used.
    pub usage: Usage,
}

impl Marks {
    /// How much room there is with `usage` on a disk where there was `before`, and of which the
    /// last `reserve` bytes are never given away.
    #[must_use]
    pub fn judge(&self, before: Room, usage: &Usage, reserve: u64) -> Room {
        let fullness = usage.fullness(self.capacity);
        let low = Permille(self.high.0.midpoint(Permille::WHOLE.0));
        // Of a small disk the part that the mark leaves free may be less than the engine needs.
        let marks = [(Room::Low, low, 2), (Room::High, self.high, 3)];
        let passed = |(room, mark, reserves): &(Room, Permille, u64)| {
            let (mark, reserves) = if *room <= before {
                (Permille(mark.0.saturating_sub(MARGIN.0)), reserves + 1)
            } else {
                (*mark, *reserves)
            };
            mark <= fullness || usage.free < reserve.saturating_mul(reserves)
        };
        let passed = marks.iter().find(|mark| passed(mark));
        passed.map_or(Room::Ample, |(room, ..)| *room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn usage(percent: u64) -> Usage {
        Usage {
            size: 100 * GIB,
            free: (100 - percent) * GIB,
            held: percent * GIB,
        }
    }

    #[track_caller]
    fn check(marks: Marks, steps: &[(u64, Room)]) {
        let mut room = Room::Ample;
        for (percent, expected) in steps {
            room = marks.judge(room, &usage(*percent), GIB / 16);
            assert_eq!(room, *expected, "at {percent} %");
        }
    }

    #[test]
    fn refuses_at_the_mark_and_takes_again_well_below_it() {
        let (ample, high, low) = (Room::Ample, Room::High, Room::Low);
        check(
            Marks::default(),
            &[(89, ample), (90, high), (89, high), (88, high), (87, ample)],
        );
        check(
            Marks::default(),
            &[(95, low), (94, low), (92, high), (94, high), (87, ample)],
        );
    }

    #[test]
    fn takes_the_lesser_of_disk_and_capacity() {
        let marks = Marks {
            high: Permille::new(500),
            capacity: Some(20 * GIB),
        };
        check(
            marks,
            &[(9, Room::Ample), (10, Room::High), (15, Room::Low)],
        );
        let capacity = Some(1_000 * GIB);
        check(
            Marks { capacity, ..marks },
            &[(49, Room::Ample), (50, Room::High)],
        );
    }

    #[test]
    fn keeps_more_than_the_reserve_of_a_small_disk() {
        let marks = Marks {
            high: Permille::new(1_000),
            capacity: None,
        };
        let judge = |free| {
            let usage = Usage { free, ..usage(0) };
            marks.judge(Room::Ample, &usage, GIB)
        };
        assert_eq!(judge(3 * GIB), Room::Ample);
        assert_eq!(judge(3 * GIB - 1), Room::High);
        assert_eq!(judge(2 * GIB - 1), Room::Low);
        assert_eq!(judge(0), Room::Low);
    }

    #[test]
    fn counts_a_disk_of_no_size_as_full() {
        let room = Marks::default().judge(Room::Ample, &Usage::default(), 0);
        assert_eq!(room, Room::Low);
    }

    #[test]
    fn measures_a_real_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let usage = Usage::of_file_system(folder.path()).expect("a file system");
        assert!(0 < usage.free && usage.free <= usage.size, "{usage:?}");
    }
}
