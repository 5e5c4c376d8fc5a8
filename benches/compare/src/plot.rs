//! The medians as an SVG: a panel a figure, a bar an engine, each panel with its own scale.

use crate::sheet::{Figure, Sheet, Unit};
use std::fmt::Write as _;

const WIDTH: u32 = 860;
const LABEL: u32 = 230;
const BAR: u32 = 430;
const ROW: u32 = 20;
const TITLE: u32 = 34;
const OURS: &str = "#0b6e4f";
const OTHERS: &str = "#9aa5b1";

/// The whole picture.
pub(crate) fn svg(sheet: &Sheet) -> String {
    let panels: Vec<_> = Figure::PLOTTED.into_iter().map(|figure| (figure, bars(sheet, figure))).collect();
    let panels: Vec<_> = panels.into_iter().filter(|(_, bars)| !bars.is_empty()).collect();
    let height: u32 = panels.iter().map(|(_, bars)| TITLE + ROW * bars.len() as u32).sum::<u32>() + 16;
    // writing to a String cannot fail, here and below
    let mut out = String::new();
    let _ = writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>"
    );
    let mut top = 0;
    for (figure, bars) in &panels {
        top = panel(&mut out, top, *figure, bars);
    }
    out.push_str("</svg>\n");
    out
}

/// Engines and values, the best first.
fn bars(sheet: &Sheet, figure: Figure) -> Vec<(&'static str, f64)> {
    let value = |engine: &&'static str| Some((*engine, sheet.median(engine, figure)?));
    let mut bars: Vec<_> = sheet.engines().iter().filter_map(value).collect();
    bars.sort_by(|a, b| if more_is_better(figure) { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) });
    bars
}

fn more_is_better(figure: Figure) -> bool {
    figure.unit() == Unit::PerSecond
}

fn panel(out: &mut String, top: u32, figure: Figure, bars: &[(&'static str, f64)]) -> u32 {
    let better = if more_is_better(figure) { "more is better" } else { "less is better" };
    let _ = writeln!(
        out,
        "<text x=\"12\" y=\"{}\" font-weight=\"600\" fill=\"#1f2933\">{} <tspan font-weight=\"400\" fill=\"#616e7c\">({better})</tspan></text>",
        top + 24,
        escaped(figure.title()),
    );
    let longest = bars.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
    let mut y = top + TITLE;
    for (engine, value) in bars {
        let (width, base) = (value / longest * f64::from(BAR), y + 14);
        let fill = if engine.starts_with("Strandline") { OURS } else { OTHERS };
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\" fill=\"#323f4b\">{}</text>\
             <rect x=\"{LABEL}\" y=\"{}\" width=\"{width:.1}\" height=\"14\" fill=\"{fill}\"/>\
             <text x=\"{:.1}\" y=\"{base}\" fill=\"#323f4b\">{}</text>",
            LABEL - 8,
            escaped(engine),
            y + 3,
            f64::from(LABEL) + width + 6.0,
            figure.unit().text(*value),
        );
        y += ROW;
    }
    y
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share_of_the_longest() {
        let mut sheet = Sheet::default();
        sheet.add("Redis", Figure::Batches, 100_000.0);
        sheet.add("Strandline native", Figure::Batches, 400_000.0);
        sheet.add("Redis", Figure::OneP50, 0.2);
        let text = svg(&sheet);
        assert!(text.contains("width=\"430.0\"") && text.contains("width=\"107.5\""), "{text}");
        assert!(text.find("Strandline native") < text.rfind("Redis"), "the best first");
        assert_eq!((text.matches("<rect").count(), text.matches("better").count()), (4, 2));
        assert!(text.starts_with("<svg ") && text.ends_with("</svg>\n"));
    }
}
