//! Distributions of latencies as a picture: SVG, written by hand, readable without anything else.
//!
//! One panel per measurement, one line per variant. Across: percentiles, each decade of rarity as wide as the next (50,
//! 90, 99, 99.9 …). Up: latency, logarithmic.

use std::fmt::Write;

use super::result::Outcome;
use crate::load::window::Latencies;

const WIDTH: f64 = 860.0;
const PANEL: f64 = 320.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 120.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 44.0;
/// The rarest percentile that is drawn: 99.99 %.
const DECADES: f64 = 4.0;
/// Colours that people who see few colours tell apart (Okabe and Ito).
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

/// The picture.
pub(super) fn svg(outcomes: &[Outcome]) -> String {
    let height = PANEL * outcomes.len() as f64;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (number, outcome) in outcomes.iter().enumerate() {
        _ = writeln!(text, "<g transform=\"translate(0 {})\">", PANEL * number as f64);
        panel(&mut text, outcome);
        text.push_str("</g>\n");
    }
    text.push_str("</svg>\n");
    text
}

fn panel(text: &mut String, outcome: &Outcome) {
    let lines: Vec<(&str, Latencies)> =
        outcome.variants.iter().map(|variant| (variant.variant, variant.summary.latency.histogram())).collect();
    let least = lines.iter().map(|(_, latencies)| latencies.min()).min().unwrap_or(1).max(1) as f64;
    let most =
        lines.iter().map(|(_, latencies)| latencies.value_at_quantile(at_rarity(DECADES))).max().unwrap_or(1) as f64;
    let axis = Axis { low: least.log10().floor(), high: most.log10().ceil().max(least.log10().floor() + 1.0) };
    let kind = if outcome.open_loop { "response time, open loop" } else { "service time, closed loop" };
    let title = format!("{}: {}, {kind}", escape(&outcome.name), escape(&outcome.exchange));
    _ = writeln!(text, "<text x=\"{LEFT}\" y=\"22\" font-size=\"14\" font-weight=\"bold\">{title}</text>");
    for rarity in [0.0, std::f64::consts::LOG10_2, 1.0, 2.0, 3.0, 4.0] {
        let (x, y) = (across(rarity), PANEL - BOTTOM);
        let percent = at_rarity(rarity) * 100.0;
        let label = format!("{percent:.2}");
        let label = label.trim_end_matches('0').trim_end_matches('.');
        _ = writeln!(text, "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{y}\" stroke=\"#ddd\"/>");
        _ = writeln!(text, "<text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{label} %</text>", y + 18.0);
    }
    let mut decade = axis.low;
    while decade <= axis.high {
        let y = axis.up(decade);
        let right = WIDTH - RIGHT;
        _ = writeln!(text, "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>");
        let (x, middle) = (LEFT - 8.0, y + 4.0);
        _ = writeln!(text, "<text x=\"{x}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>", decade_name(decade));
        decade += 1.0;
    }
    for (number, ((name, latencies), colour)) in lines.iter().zip(COLOURS.iter().cycle()).enumerate() {
        line(text, latencies, colour, &axis);
        let (x, y) = (WIDTH - RIGHT + 16.0, TOP + 20.0 * number as f64 + 12.0);
        _ = writeln!(text, "<rect x=\"{x}\" y=\"{}\" width=\"16\" height=\"4\" fill=\"{colour}\"/>", y - 6.0);
        _ = writeln!(text, "<text x=\"{}\" y=\"{y}\">{}</text>", x + 24.0, escape(name));
    }
}

fn line(text: &mut String, latencies: &Latencies, colour: &str, axis: &Axis) {
    const STEPS: u32 = 160;
    let mut points = String::new();
    for step in 0..=STEPS {
        let rarity = DECADES * f64::from(step) / f64::from(STEPS);
        // Of few values the rare percentiles are all the slowest one: what was not seen is not drawn.
        if 10_f64.powf(rarity) > latencies.len() as f64 {
            break;
        }
        let value = latencies.value_at_quantile(at_rarity(rarity)).max(1) as f64;
        _ = write!(points, "{:.1},{:.1} ", across(rarity), axis.up(value.log10()));
    }
    let points = points.trim_end();
    _ = writeln!(text, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{points}\"/>");
}

/// The vertical axis, in decades of nanoseconds.
struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    fn up(&self, decade: f64) -> f64 {
        let share = (decade - self.low) / (self.high - self.low);
        PANEL - BOTTOM - share * (PANEL - BOTTOM - TOP)
    }
}

/// Where a rarity stands: how many times out of ten that it is exceeded, as a power of ten.
fn across(rarity: f64) -> f64 {
    LEFT + rarity / DECADES * (WIDTH - LEFT - RIGHT)
}

fn at_rarity(rarity: f64) -> f64 {
    1.0 - 10_f64.powf(-rarity)
}

fn decade_name(decade: f64) -> String {
    let ns = 10_f64.powf(decade);
    match ns {
        ns if ns >= 1e9 => format!("{:.0} s", ns / 1e9),
        ns if ns >= 1e6 => format!("{:.0} ms", ns / 1e6),
        ns if ns >= 1e3 => format!("{:.0} µs", ns / 1e3),
        ns => format!("{ns:.0} ns"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
