//! `vpce doctor`: what this machine offers, what is lost without it, and the command that gives it back.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output::{self, Failure, Output};
use crate::edge::control::Answer;
use crate::lab::requirements::{self, Finding};

/// Examine this machine: what it offers, what is lost without it, what gives it back
#[derive(Debug, Args)]
#[command(
    after_help = "Exits with 3 if something that labs need is missing.\n\nExamples:\n  vpce doctor\n  vpce doctor -o json"
)]
pub(super) struct Arguments {
    /// What the process started in namespaces of its own does.
    #[arg(long, hide = true)]
    inside: bool,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode, Failure> {
    if arguments.inside {
        let findings = requirements::inside().map(|findings| json!(findings));
        output::print(&Answer::from(findings).to_line());
        return Ok(ExitCode::SUCCESS);
    }
    let findings = requirements::examine();
    let ready = findings.iter().all(|finding| finding.available || !finding.required);
    match output {
        Output::Json => output::print_json(&json!({ "ready": ready, "findings": findings })),
        Output::Text => output::print(&text(&findings, ready)),
    }
    Ok(if ready { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

fn text(findings: &[Finding], ready: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match (finding.available, finding.required) {
            (true, _) => "ok     ",
            (false, true) => "MISSING",
            (false, false) => "lacking",
        };
        text.push_str(&format!("{mark}  {:<16} {}\n", finding.name, finding.detail));
        for (word, line) in [("lost:", &finding.lost), ("do:", &finding.remedy)] {
            if let Some(line) = line {
                text.push_str(&format!("{:<9}{:<16} {word:<5} {line}\n", "", ""));
            }
        }
    }
    text + if ready { "\nLabs run on this machine.\n" } else { "\nLabs do not run on this machine yet.\n" }
}
