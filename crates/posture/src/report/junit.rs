//! The report as JUnit XML: a suite for each file, a case for each finding, so that pipelines show it as tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::clean::markup;
use super::{Report, Reported, Untold};

/// The report as JUnit XML. A file without findings has one case that passes.
#[must_use]
pub fn junit(report: &Report) -> String {
    let mut files: BTreeMap<&str, Suite<'_>> = BTreeMap::new();
    for name in &report.summary.names {
        files.entry(name).or_default();
    }
    for finding in &report.findings {
        files
            .entry(&finding.file)
            .or_default()
            .findings
            .push(finding);
    }
    for untold in &report.not_evaluable {
        files.entry(&untold.file).or_default().untold.push(untold);
    }
    for problem in &report.errors {
        let text = format!("{}:{}: {}", problem.line, problem.column, problem.message);
        files.entry(&problem.file).or_default().errors.push(text);
    }
    let mut suites = String::new();
    let mut all = (0, 0, 0, 0);
    for (name, suite) in &files {
        let counts = suite.write(name, &mut suites);
        all = (
            all.0 + counts.0,
            all.1 + counts.1,
            all.2 + counts.2,
            all.3 + counts.3,
        );
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"casemate scan\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">\n{suites}</testsuites>\n",
        all.0, all.1, all.2, all.3
    )
}

#[derive(Default)]
struct Suite<'report> {
    findings: Vec<&'report Reported>,
    untold: Vec<&'report Untold>,
    errors: Vec<String>,
}

impl Suite<'_> {
    /// Writes the suite; gives tests, failures, errors and skipped ones.
    fn write(&self, name: &str, into: &mut String) -> (usize, usize, usize, usize) {
        let failures = self
            .findings
            .iter()
            .filter(|finding| finding.suppressed.is_none())
            .count();
        let skipped = self.findings.len() - failures + self.untold.len();
        let clean = self.findings.is_empty() && self.untold.is_empty() && self.errors.is_empty();
        let tests =
            self.findings.len() + self.untold.len() + self.errors.len() + usize::from(clean);
        let name = markup(name);
        let mut put = |text: std::fmt::Arguments<'_>| {
            // Writing to a text cannot fail.
            let _infallible = into.write_fmt(text);
        };
        put(format_args!(
            "  <testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"{}\" skipped=\"{skipped}\">\n",
            self.errors.len()
        ));
        if clean {
            put(format_args!(
                "    <testcase classname=\"{name}\" name=\"nothing found\"/>\n"
            ));
        }
        for finding in &self.findings {
            put(format_args!(
                "    <testcase classname=\"{}\" name=\"{} {}:{}\" file=\"{name}\" line=\"{}\">\n",
                markup(&finding.resource),
                finding.rule,
                finding.line,
                finding.column,
                finding.line
            ));
            match &finding.suppressed {
                Some(suppressed) => put(format_args!(
                    "      <skipped message=\"{}\"/>\n",
                    markup(&suppressed.reason)
                )),
                None => put(format_args!(
                    "      <failure type=\"{}\" message=\"{}\">{}\nfix: {}\nfingerprint: {}</failure>\n",
                    finding.severity.as_str(),
                    markup(&finding.message),
                    markup(&finding.message),
                    markup(&finding.fix),
                    finding.fingerprint
                )),
            }
            put(format_args!("    </testcase>\n"));
        }
        for untold in &self.untold {
            put(format_args!(
                "    <testcase classname=\"{}\" name=\"{} {}:{}\"><skipped message=\"not evaluable: {}\"/></testcase>\n",
                markup(&untold.resource),
                untold.rule.unwrap_or("document"),
                untold.line,
                untold.column,
                markup(&untold.message)
            ));
        }
        for error in &self.errors {
            put(format_args!(
                "    <testcase classname=\"{name}\" name=\"read\"><error message=\"{}\"/></testcase>\n",
                markup(error)
            ));
        }
        put(format_args!("  </testsuite>\n"));
        (tests, failures, self.errors.len(), skipped)
    }
}
