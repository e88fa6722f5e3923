//! Attacking running stages on demand: one after the other, each by the thread that owns it.

use std::sync::mpsc::sync_channel;
use std::time::Instant;

use casemate_api::v1;

use super::Node;
use crate::failure::{Code, Failure};
use crate::supervise::Order;

impl Node {
    /// `POST /v1/probe`.
    pub(crate) fn probe(
        &self,
        request: &v1::ProbeRequest,
        line: &dyn Fn(v1::ProbeLine),
    ) -> Result<v1::ProbeEnd, Failure> {
        let began = Instant::now();
        let targets = self.targets(request)?;
        let mut summary = v1::ProbeSummary::default();
        let mut stages = 0;
        for (enclosure, stage) in targets {
            let running = self.running(&enclosure)?;
            let orders = running.orders(&stage).ok_or_else(|| {
                Failure::new(
                    Code::NoSuchStage,
                    format!("{enclosure} has no stage `{stage}`"),
                )
            })?;
            line(v1::ProbeLine::Stage(v1::ProbeStart {
                enclosure,
                stage: stage.clone(),
            }));
            let ended =
                || Failure::new(Code::StageNotRunning, format!("stage `{stage}` has ended"));
            let (lines, said) = sync_channel(LINES);
            let (reply, answer) = sync_channel(1);
            orders
                .send(Order::Probe { lines, reply })
                .map_err(|_| ended())?;
            for each in said {
                line(each);
            }
            let found = answer.recv().map_err(|_| ended())??;
            summary.checks += found.checks;
            summary.blocked += found.blocked;
            summary.open += found.open;
            summary.inconclusive += found.inconclusive;
            summary.not_applicable += found.not_applicable;
            stages += 1;
        }
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(v1::ProbeEnd {
            summary,
            stages,
            millis,
        })
    }

    /// Which stages are meant: all, those of one enclosure, or those of one name.
    fn targets(&self, request: &v1::ProbeRequest) -> Result<Vec<(String, String)>, Failure> {
        let wanted =
            |asked: &Option<String>, name: &str| asked.as_ref().is_none_or(|asked| asked == name);
        let mut targets = Vec::new();
        for (name, running) in self.enclosures().iter() {
            if wanted(&request.enclosure, name.as_str()) && running.is_up() {
                for board in running.boards() {
                    if wanted(&request.stage, board.stage.as_str()) {
                        targets.push((name.to_string(), board.stage.to_string()));
                    }
                }
            }
        }
        match (&request.enclosure, &request.stage) {
            _ if !targets.is_empty() => Ok(targets),
            (_, Some(stage)) => Err(Failure::new(
                Code::NoSuchStage,
                format!("no stage `{stage}` is up"),
            )),
            (Some(enclosure), None) => Err(Failure::new(
                Code::NoSuchEnclosure,
                format!("no enclosure `{enclosure}` is up"),
            )),
            (None, None) => Err(Failure::new(Code::NoSuchEnclosure, "no enclosure is up")),
        }
    }
}

const LINES: usize = 64;
