//! The flows as a picture: who comes in on the left, workloads in the middle, what is called on the right.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Flow, Graph, Party, Purpose, Standing, port_text};
use crate::report::clean::markup;

/// The picture as one SVG text, readable in light and dark, with a title on every line for those who hear it.
#[must_use]
pub fn svg(graph: &Graph<'_>) -> String {
    let layout = Layout::of(graph);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\" aria-label=\"Who may reach whom\" font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<style>{STYLE}</style>\n",
        height = layout.height
    );
    let mut ends = Ends::default();
    for one in &layout.lines {
        line(&mut text, graph, &layout, one, &mut ends);
    }
    for ((_, party), spot) in &layout.boxes {
        node(&mut text, &graph.title(party), party, *spot);
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
        let cells: String = row
            .iter()
            .map(|cell| format!("<td>{}</td>", markup(cell)))
            .collect();
        let place = format!(
            "{}:{}",
            graph.estate.files.name(flow.place.file),
            flow.place.line
        );
        let _infallible = writeln!(
            rows,
            "<tr class=\"{}\">{cells}<td><code>{}</code></td></tr>",
            flow.standing.as_str(),
            markup(&place)
        );
    }
    let header: String = header
        .iter()
        .map(|cell| format!("<th scope=\"col\">{cell}</th>"))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Who may reach whom</title>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{PAGE}</style></head><body>\n\
         <h1>Who may reach whom</h1><p>{summary}</p>\n<div class=\"picture\">{picture}</div>\n\
         <table><thead><tr>{header}<th scope=\"col\">where</th></tr></thead><tbody>\n{rows}</tbody></table>\n</body></html>\n",
        summary = markup(&summary(graph)),
        picture = svg(graph),
    )
}

fn summary(graph: &Graph<'_>) -> String {
    let count = |standing: Standing| {
        graph
            .flows
            .iter()
            .filter(|flow| flow.standing == standing)
            .count()
    };
    let doors = graph
        .flows
        .iter()
        .filter(|flow| flow.purpose == Purpose::Undeclared)
        .count();
    format!(
        "{} flows are declared: {} allowed by a policy, {} denied by one, {} that no policy restricts. {doors} doors stand open that nothing declares.",
        graph.flows.len() - doors,
        count(Standing::Allowed),
        count(Standing::Denied),
        count(Standing::Open).saturating_sub(doors),
    )
}

/// Flows between the same two parties that stand alike: one line.
struct Line<'graph> {
    from: (usize, Party),
    to: (usize, Party),
    standing: Standing,
    flows: Vec<&'graph Flow>,
}

/// A party's box: as high as the lines at its busier side need, so that no two lines share an end.
#[derive(Clone, Copy, Default)]
struct Spot {
    x: usize,
    y: usize,
    height: usize,
    left: usize,
    right: usize,
}

struct Layout<'graph> {
    boxes: BTreeMap<(usize, Party), Spot>,
    lines: Vec<Line<'graph>>,
    height: usize,
}

impl<'graph> Layout<'graph> {
    fn of(graph: &'graph Graph<'_>) -> Self {
        let column = |party: &Party, other: usize| match party {
            Party::Workload(_) => 1,
            _ => other,
        };
        let mut lines: Vec<Line<'graph>> = Vec::new();
        for flow in &graph.flows {
            // Anywhere is somebody who comes and somewhere to go: two boxes.
            let from = (column(&flow.from, 0), flow.from.clone());
            let to = (column(&flow.to, 2), flow.to.clone());
            let same = |line: &&mut Line<'_>| {
                line.from == from && line.to == to && line.standing == flow.standing
            };
            if let Some(line) = lines.iter_mut().find(same) {
                line.flows.push(flow);
            } else if lines.len() < MAX_LINES {
                lines.push(Line {
                    from,
                    to,
                    standing: flow.standing,
                    flows: vec![flow],
                });
            }
        }
        let mut boxes: BTreeMap<(usize, Party), Spot> = BTreeMap::new();
        for line in &lines {
            boxes.entry(line.from.clone()).or_default().right += 1;
            let to = boxes.entry(line.to.clone()).or_default();
            // A line between two workloads comes back on the side it left.
            if line.from.0 == line.to.0 {
                to.right += 1;
            } else {
                to.left += 1;
            }
        }
        let mut bottom = [MARGIN; 3];
        for ((column, _), spot) in &mut boxes {
            let Some(bottom) = bottom.get_mut(*column) else {
                continue;
            };
            spot.height = BOX_HEIGHT.max(spot.left.max(spot.right) * SLOT + SLOT / 2);
            spot.x = MARGIN + column * COLUMN;
            spot.y = *bottom;
            *bottom += spot.height + GAP;
        }
        let height = bottom.iter().max().copied().unwrap_or(0) + MARGIN - GAP.min(MARGIN);
        // Shorter columns stand in the middle.
        for ((column, _), spot) in &mut boxes {
            let own = bottom.get(*column).copied().unwrap_or(0);
            spot.y += (bottom
                .iter()
                .max()
                .copied()
                .unwrap_or(0)
                .saturating_sub(own))
                / 2;
        }
        Self {
            boxes,
            lines,
            height,
        }
    }
}

/// Gives out the ends of lines at the boxes, from top to bottom.
#[derive(Default)]
struct Ends {
    used: BTreeMap<(usize, Party, bool), usize>,
}

impl Ends {
    fn next(&mut self, key: &(usize, Party), spot: Spot, right: bool) -> (usize, usize) {
        let used = self.used.entry((key.0, key.1.clone(), right)).or_default();
        let count = if right { spot.right } else { spot.left };
        let y = spot.y + spot.height * (2 * *used + 1) / (2 * count.max(1));
        *used += 1;
        (if right { spot.x + BOX_WIDTH } else { spot.x }, y)
    }
}

fn line(
    text: &mut String,
    graph: &Graph<'_>,
    layout: &Layout<'_>,
    line: &Line<'_>,
    ends: &mut Ends,
) {
    let (Some(from), Some(to)) = (layout.boxes.get(&line.from), layout.boxes.get(&line.to)) else {
        return;
    };
    let same_column = line.from.0 == line.to.0;
    let (start_x, start_y) = ends.next(&line.from, *from, true);
    let (end_x, end_y) = ends.next(&line.to, *to, same_column);
    let bend = (COLUMN - BOX_WIDTH) / 2;
    let second_x = if same_column {
        end_x + bend
    } else {
        end_x.saturating_sub(bend)
    };
    let titles: Vec<String> = line
        .flows
        .iter()
        .map(|flow| {
            format!(
                "{} to {}, port {}, {}, {}: {}",
                graph.title(&flow.from),
                graph.title(&flow.to),
                port_text(flow),
                flow.purpose,
                flow.standing.as_str(),
                flow.evidence
            )
        })
        .collect();
    let _infallible = writeln!(
        text,
        "<g class=\"{}\"><path d=\"M{start_x} {start_y} C{} {start_y} {second_x} {end_y} {end_x} {end_y}\"/><circle cx=\"{end_x}\" cy=\"{end_y}\" r=\"3.5\"/><title>{}</title></g>",
        line.standing.as_str(),
        start_x + bend,
        markup(&titles.join("\n"))
    );
    let mut labels: Vec<String> = line.flows.iter().map(|flow| label(flow)).collect();
    labels.sort();
    labels.dedup();
    // Where a line has its end for itself: at the caller on the left, at the called on the right.
    let (x, y, anchor) = if line.from.0 == 1 && line.to.0 == 2 {
        (end_x.saturating_sub(8), end_y, "end")
    } else {
        (start_x + 8, start_y, "start")
    };
    let _infallible = writeln!(
        text,
        "<text class=\"label\" x=\"{x}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
        y.saturating_sub(4),
        markup(&labels.join(", "))
    );
}

fn label(flow: &Flow) -> String {
    match (flow.purpose, flow.port) {
        (Purpose::Undeclared, _) => "any port".to_owned(),
        (Purpose::Names, _) => "names".to_owned(),
        (purpose, None) => purpose.as_str().to_owned(),
        (purpose, Some(_)) => format!("{} {purpose}", port_text(flow)),
    }
}

fn node(text: &mut String, title: &str, party: &Party, spot: Spot) {
    let kind = match party {
        Party::Workload(_) => "workload",
        Party::AnyPod | Party::Anywhere => "open-end",
        Party::Ingress | Party::Monitoring | Party::Dns | Party::Caller(_) | Party::Host(_) => {
            "other"
        }
    };
    let shown: String = if title.chars().count() > LABEL {
        title.chars().take(LABEL - 1).chain(['…']).collect()
    } else {
        title.to_owned()
    };
    let _infallible = writeln!(
        text,
        "<g class=\"{kind}\"><rect x=\"{}\" y=\"{}\" width=\"{BOX_WIDTH}\" height=\"{}\" rx=\"6\"/><text x=\"{}\" y=\"{}\">{}</text><title>{}</title></g>",
        spot.x,
        spot.y,
        spot.height,
        spot.x + 12,
        spot.y + spot.height / 2 + 5,
        markup(&shown),
        markup(title)
    );
}

const WIDTH: usize = 1180;
const MARGIN: usize = 24;
const COLUMN: usize = 440;
const BOX_WIDTH: usize = 250;
const BOX_HEIGHT: usize = 34;
/// Between two lines at one box.
const SLOT: usize = 22;
/// Between two boxes.
const GAP: usize = 20;
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
