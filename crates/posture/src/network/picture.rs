//! The flows as a picture: who comes in on the left, workloads in the middle, what is called on the right.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Flow, Graph, Party, Purpose, Standing, port_text};

/// The picture as one SVG text, readable in light and dark, with a title on every line for those who hear it.
#[must_use]
pub fn svg(graph: &Graph<'_>) -> String {
    let layout = Layout::of(graph);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"Who may reach whom\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<style>{STYLE}</style>\n",
        height = layout.height
    );
    for (flow, from, to) in &layout.lines {
        line(&mut text, graph, flow, *from, *to);
    }
    for (party, place) in &layout.boxes {
        node(&mut text, &graph.title(party), party, *place);
    }
    text.push_str("</svg>\n");
    text
}

/// The picture with its table as one page that needs nothing else.
#[must_use]
pub fn html(graph: &Graph<'_>) -> String {
    let mut rows = String::new();
    let mut table = graph.rows().into_iter();
    let header = table.next().unwrap_or_default();
    for (row, flow) in table.zip(&graph.flows) {
        let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
        let place = format!(
            "{}:{}",
            graph.estate.files.name(flow.place.file),
            flow.place.line
        );
        let _infallible = writeln!(
            rows,
            "<tr class=\"{}\">{cells}<td><code>{}</code></td></tr>",
            flow.standing.as_str(),
            escape(&place)
        );
    }
    let header: String = header.iter().map(|cell| format!("<th scope=\"col\">{cell}</th>")).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Who may reach whom</title>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{PAGE}</style></head><body>\n\
         <h1>Who may reach whom</h1><p>{summary}</p>\n<div class=\"picture\">{picture}</div>\n\
         <table><thead><tr>{header}<th scope=\"col\">where</th></tr></thead><tbody>\n{rows}</tbody></table>\n</body></html>\n",
        summary = escape(&summary(graph)),
        picture = svg(graph),
    )
}

fn summary(graph: &Graph<'_>) -> String {
    let count = |standing: Standing| graph.flows.iter().filter(|flow| flow.standing == standing).count();
    let doors = graph.flows.iter().filter(|flow| flow.purpose == Purpose::Undeclared).count();
    format!(
        "{} flows are declared: {} allowed by a policy, {} denied by one, {} that no policy restricts. {doors} doors stand open that nothing declares.",
        graph.flows.len() - doors,
        count(Standing::Allowed),
        count(Standing::Denied),
        count(Standing::Open).saturating_sub(doors),
    )
}

#[derive(Clone, Copy)]
struct Spot {
    x: usize,
    y: usize,
}

struct Layout<'graph> {
    boxes: Vec<(Party, Spot)>,
    lines: Vec<(&'graph Flow, Spot, Spot)>,
    height: usize,
}

impl<'graph> Layout<'graph> {
    fn of(graph: &'graph Graph<'_>) -> Self {
        let mut columns: [Vec<Party>; 3] = Default::default();
        let mut spots = BTreeMap::new();
        let shown = graph.flows.iter().take(MAX_LINES);
        for flow in shown.clone() {
            for (party, coming) in [(&flow.from, true), (&flow.to, false)] {
                let column = match party {
                    Party::Workload(_) => 1,
                    // Anywhere is somebody who comes and somewhere to go: two boxes.
                    _ if coming => 0,
                    _ => 2,
                };
                if let Some(members) = columns.get_mut(column)
                    && !members.contains(party)
                {
                    members.push(party.clone());
                }
            }
        }
        let tallest = columns.iter().map(Vec::len).max().unwrap_or(0).max(1);
        let height = tallest * ROW + 2 * MARGIN;
        let mut boxes = Vec::new();
        for (column, members) in columns.iter().enumerate() {
            // Shorter columns are spread over the height of the longest.
            let step = (tallest * ROW) / members.len().max(1);
            for (row, party) in members.iter().enumerate() {
                let spot = Spot {
                    x: MARGIN + column * COLUMN,
                    y: MARGIN + row * step + step.saturating_sub(BOX_HEIGHT) / 2,
                };
                spots.insert((column, party.clone()), spot);
                boxes.push((party.clone(), spot));
            }
        }
        let spot = |party: &Party, other: usize| {
            let column = if matches!(party, Party::Workload(_)) { 1 } else { other };
            spots.get(&(column, party.clone())).copied()
        };
        let lines = shown
            .filter_map(|flow| Some((flow, spot(&flow.from, 0)?, spot(&flow.to, 2)?)))
            .collect();
        Self {
            boxes,
            lines,
            height,
        }
    }
}

fn line(text: &mut String, graph: &Graph<'_>, flow: &Flow, from: Spot, to: Spot) {
    let middle = BOX_HEIGHT / 2;
    let (start_x, start_y) = (from.x + BOX_WIDTH, from.y + middle);
    // Between two workloads the line leaves and comes back on the right.
    let same_column = from.x == to.x;
    let (end_x, end_y) = if same_column {
        (to.x + BOX_WIDTH, to.y + middle)
    } else {
        (to.x, to.y + middle)
    };
    let bend = if same_column { 90 } else { (COLUMN - BOX_WIDTH) / 2 };
    let second_x = if same_column { end_x + bend } else { end_x.saturating_sub(bend) };
    let title = format!(
        "{} to {}, port {}, {}, {}: {}",
        graph.title(&flow.from),
        graph.title(&flow.to),
        port_text(flow),
        flow.purpose,
        flow.standing.as_str(),
        flow.evidence
    );
    let _infallible = write!(
        text,
        "<g class=\"{}\"><path d=\"M{start_x} {start_y} C{} {start_y} {second_x} {end_y} {end_x} {end_y}\"/><circle cx=\"{end_x}\" cy=\"{end_y}\" r=\"3.5\"/><title>{}</title></g>\n",
        flow.standing.as_str(),
        start_x + bend,
        escape(&title)
    );
    let label = match flow.purpose {
        Purpose::Undeclared => "any port".to_owned(),
        purpose => format!("{} {purpose}", port_text(flow)),
    };
    let (label_x, label_y) = if same_column {
        (start_x + 12, usize::midpoint(start_y, end_y))
    } else {
        // Near the end, where lines that share a start have parted.
        (start_x + (end_x.saturating_sub(start_x)) * 11 / 20, start_y + (end_y * 11 / 20) - (start_y * 11 / 20))
    };
    let _infallible = writeln!(
        text,
        "<text class=\"label\" x=\"{label_x}\" y=\"{}\">{}</text>",
        label_y.saturating_sub(4),
        escape(&label)
    );
}

fn node(text: &mut String, title: &str, party: &Party, spot: Spot) {
    let kind = match party {
        Party::Workload(_) => "workload",
        Party::AnyPod | Party::Anywhere => "open-end",
        Party::Ingress | Party::Monitoring | Party::Dns | Party::Caller(_) | Party::Host(_) => "other",
    };
    let shown: String = if title.chars().count() > LABEL {
        title.chars().take(LABEL - 1).chain(['…']).collect()
    } else {
        title.to_owned()
    };
    let _infallible = writeln!(
        text,
        "<g class=\"{kind}\"><rect x=\"{}\" y=\"{}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" rx=\"6\"/><text x=\"{}\" y=\"{}\">{}</text><title>{}</title></g>",
        spot.x,
        spot.y,
        spot.x + 10,
        spot.y + BOX_HEIGHT / 2 + 5,
        escape(&shown),
        escape(title)
    );
}

/// A text from a document inside markup: what it could end or hide is written out or left out.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => escaped.push('\u{fffd}'),
            other if other.is_control() && other != '\n' && other != '\t' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

const WIDTH: usize = 1120;
const MARGIN: usize = 24;
const COLUMN: usize = 400;
const BOX_WIDTH: usize = 250;
const BOX_HEIGHT: usize = 34;
const ROW: usize = 62;
const LABEL: usize = 34;
/// More lines than anybody can follow; the table has them all.
const MAX_LINES: usize = 400;

const STYLE: &str = "\
rect{fill:#f6f8fa;stroke:#57606a}.workload rect{fill:#ddf4ff;stroke:#0969da}.open-end rect{fill:#ffebe9;stroke:#cf222e}\
text{fill:#1f2328}.label{font-size:11px;fill:#57606a}path{fill:none;stroke-width:1.6}\
.allowed path{stroke:#1a7f37}.allowed circle{fill:#1a7f37}.open path{stroke:#cf222e;stroke-dasharray:6 4}.open circle{fill:#cf222e}\
.denied path{stroke:#8c959f;stroke-dasharray:2 4}.denied circle{fill:#8c959f}.unknown path{stroke:#9a6700}.unknown circle{fill:#9a6700}\
@media(prefers-color-scheme:dark){rect{fill:#161b22;stroke:#8b949e}.workload rect{fill:#0c2d6b;stroke:#58a6ff}.open-end rect{fill:#490202;stroke:#f85149}\
text{fill:#e6edf3}.label{fill:#9198a1}.allowed path{stroke:#3fb950}.allowed circle{fill:#3fb950}.open path{stroke:#f85149}.open circle{fill:#f85149}}";

const PAGE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;color:#1f2328;background:#fff}\
.picture{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px}th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #d0d7de;vertical-align:top}\
tr.open td:nth-child(5){color:#cf222e;font-weight:600}tr.allowed td:nth-child(5){color:#1a7f37}code{font-size:12px}\
@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}th,td{border-color:#30363d}tr.open td:nth-child(5){color:#f85149}tr.allowed td:nth-child(5){color:#3fb950}}";
