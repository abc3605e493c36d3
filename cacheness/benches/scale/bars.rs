//! The promises about a large cache, and whether they hold.

use crate::cost;
use crate::measure::Row;

/// What may be dearer by so much and still be called the same: two medians of one thing differ too.
const SAME: f64 = 1.5;

struct Bar {
    row: &'static str,
    at: usize,
    holds: Holds,
}

enum Holds {
    /// At most so many times the cost at another size.
    Times(f64, usize),
    /// At most so many seconds.
    Seconds(f64),
}

const BARS: [Bar; 7] = [
    Bar { row: "get_stats", at: 1_000_000, holds: Holds::Times(SAME, 1_000) },
    Bar { row: "cleanup_expired, none is", at: 1_000_000, holds: Holds::Times(SAME, 1_000) },
    Bar { row: "get", at: 1_000_000, holds: Holds::Times(4.0, 10_000) },
    Bar { row: "put over an entry", at: 1_000_000, holds: Holds::Times(4.0, 10_000) },
    Bar { row: "first page of 100 entries", at: 1_000_000, holds: Holds::Seconds(0.005) },
    Bar { row: "page of 100 in the middle", at: 1_000_000, holds: Holds::Seconds(0.005) },
    Bar { row: "open after filling", at: 1_000_000, holds: Holds::Seconds(1.5) },
];

pub(crate) fn judge(sizes: &[usize], rows: &[Row]) {
    for bar in BARS {
        let Some(cost_here) = cost(rows, bar.row, sizes, bar.at) else { continue };
        let (row, at) = (bar.row, bar.at);
        match bar.holds {
            Holds::Seconds(most) => {
                let verdict = verdict(cost_here <= most);
                println!("{verdict}: {row} at {at}: {cost_here:.3} s, at most {most} s");
            }
            Holds::Times(most, beside) => {
                let Some(cost_there) = cost(rows, row, sizes, beside) else { continue };
                let times = cost_here / cost_there;
                let verdict = verdict(times <= most);
                println!("{verdict}: {row} at {at}: {times:.2} times its cost at {beside}, at most {most}");
            }
        }
    }
}

fn verdict(holds: bool) -> &'static str {
    if holds { "holds " } else { "MISSED" }
}
