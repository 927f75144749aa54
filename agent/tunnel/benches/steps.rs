//! The steps of a packet's way, one by one: `cargo bench -p lacis-tunnel [PART OF A NAME]`.
//!
//! Each step is repeated for about 20 ms, 15 times over; printed are the median and the spread of those. Under
//! `cargo test` each step is done once.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use lacis_tunnel::bench::{Case, cases};

const SAMPLES: usize = 15;
const SAMPLE: Duration = Duration::from_millis(20);

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let measuring = arguments.iter().any(|argument| argument == "--bench");
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with("--")).collect();
    let mut out = io::stdout().lock();
    writeln!(out, "{:<36}{:>11}{:>22}{:>10}", "step", "median ns", "min – max", "GB/s")?;
    for mut case in cases() {
        let chosen = wanted.is_empty() || wanted.iter().any(|part| case.name.contains(part.as_str()));
        if chosen && measuring {
            writeln!(out, "{}", measure(&mut case))?;
        } else if chosen {
            (case.call)();
        }
    }
    Ok(())
}

fn measure(case: &mut Case) -> String {
    let (mut calls, mut took) = (1_u32, time(case, 1));
    while took < SAMPLE {
        calls = calls.saturating_mul(2);
        took = time(case, calls);
    }
    let each = f64::from(calls) * f64::from(case.per_call);
    let mut samples: Vec<f64> = (0..SAMPLES).map(|_| time(case, calls).as_secs_f64() * 1e9 / each).collect();
    samples.sort_by(f64::total_cmp);
    let median = samples[SAMPLES / 2];
    let spread = format!("{:.1} – {:.1}", samples[0], samples[SAMPLES - 1]);
    let bytes = u32::try_from(case.bytes).map_or(0.0, f64::from) / f64::from(case.per_call);
    let rate = if bytes > 0.0 { format!("{:.2}", bytes / median) } else { String::new() };
    format!("{:<36}{median:>11.1}{spread:>22}{rate:>10}", case.name)
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn time(case: &mut Case, calls: u32) -> Duration {
    let begin = Instant::now();
    for _ in 0..calls {
        (case.call)();
    }
    begin.elapsed()
}
