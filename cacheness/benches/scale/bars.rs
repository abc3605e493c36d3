//! The promises about a large cache, and whether they hold.

use cacheness_benches::Bench;

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

pub(crate) fn judge(bench: &mut Bench, sizes: &[usize], rows: &[Row]) {
    for bar in BARS {
        let Some(cost_here) = cost(rows, bar.row, sizes, bar.at) else { continue };
        let name = format!("{} at {}", bar.row, bar.at);
        match bar.holds {
            Holds::Seconds(most) => {
                let says = format!("{:.2} ms", cost_here * 1e3);
                bench.verdict(&name, &says, &format!("at most {} ms", most * 1e3), cost_here <= most);
            }
            Holds::Times(most, beside) => {
                let Some(cost_there) = cost(rows, bar.row, sizes, beside) else { continue };
                let times = cost_here / cost_there;
                let says = format!("{times:.2} times its cost at {beside}");
                bench.verdict(&name, &says, &format!("at most {most}"), times <= most);
            }
        }
    }
}
