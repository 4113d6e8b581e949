//! `vpce lab reload`: rules, network ACLs, policies and DNS of a topology put in force in the running lab.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::chosen;
use super::status::{list, word};
use crate::cli::output::{self, Failure, Output, table};
use crate::edge::{Fault, control};
use crate::lab::{client, source};

/// Put rules, ACLs, policies and DNS of the topology in force, without a restart
#[derive(Debug, Args)]
#[command(
    after_help = "New flows meet the new rules at once; a tracked flow outlives the security-group rule that let it in, \
                        as on AWS, but not a network ACL. What cannot change while the lab runs (addresses, hosts, the \
                        tunnel, functions) is named, and then everything stays as it is.\n\n\
                        Examples:\n  vpce lab reload\n  vpce lab reload stricter.toml\n  vpce lab reload blog"
)]
pub(super) struct Arguments {
    /// A TOML file, or the name of a built-in topology. Default: read the one in force again.
    topology: Option<String>,
    /// Give up what was created, changed or deleted through the lab's API.
    #[arg(long)]
    discard_api_changes: bool,
}

pub(super) fn run(wanted: &Arguments, name: Option<&str>, output: Output) -> Result<ExitCode, Failure> {
    let (lab, directories) = chosen(name)?;
    let before = client::status(&directories, &lab)?;
    let endpoint = list(&before["processes"]).iter().find(|process| process["name"] == "endpoint");
    let endpoint = endpoint.map_or(&Value::Null, |process| &process["status"]);
    let Some(origin) = endpoint["topology"].as_str() else {
        let fault = Fault::new("the endpoint does not answer").at(format!("lab {lab}"));
        return Err(fault.remedy(format!("read its log: vpce lab logs endpoint --lab {lab}")).into());
    };
    // Read here first: its faults are best shown by the process that stands in the user's folder.
    let word = wanted.topology.as_deref().unwrap_or(origin);
    let source = source::load(word, endpoint["lenient"] == true)?;
    let request = json!({ "do": "reload", "topology": source.origin, "discard": wanted.discard_api_changes });
    let mut answer = control::ask(&directories.endpoint_socket(), &request).map_err(|fault| {
        // Whoever cannot reach the endpoint has not used it wrongly.
        let is_refusal = fault.place.as_deref() == Some(source.origin.as_str());
        if is_refusal { Failure::usage(fault) } else { Failure::ours(fault) }
    })?;
    let after = client::status(&directories, &lab)?;
    answer["enforcement"] = json!({ "before": before["enforcement"], "after": after["enforcement"] });
    match output {
        Output::Json => output::print_json(&answer),
        Output::Text => output::print(&text(&lab, &answer)),
    }
    Ok(ExitCode::SUCCESS)
}

fn text(lab: &str, answer: &Value) -> String {
    let mut text = format!(
        "lab {lab}: the topology {} is in force, epoch {}\n",
        word(&answer["topology"]),
        word(&answer["epoch"])
    );
    let changes = list(&answer["changes"]);
    if changes.is_empty() {
        return text + "\nnothing changed\n";
    }
    let cells = |change: &Value| vec![word(&change["stage"]), word(&change["text"])];
    text.push_str(&format!("\nchanged:\n{}", table(2, &changes.iter().map(cells).collect::<Vec<_>>())));
    let [before, after] = ["before", "after"].map(|key| list(&answer["enforcement"][key]));
    let line = |mark: &str, line: &Value| {
        let why = if line["enforced"] == true { &line["by"] } else { &line["reason"] };
        vec![mark.to_owned(), word(&line["stage"]), word(why)]
    };
    let gone = before.iter().filter(|line| !after.contains(line)).map(|gone| line("-", gone));
    let new = after.iter().filter(|line| !before.contains(line)).map(|new| line("+", new));
    let lines: Vec<_> = gone.chain(new).collect();
    if !lines.is_empty() {
        text.push_str(&format!("\nenforced:\n{}", table(2, &lines)));
    }
    text
}
