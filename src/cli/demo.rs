//! `vpce demo`: the whole story once, in a lab of its own.
//!
//! Each story is one call by a client on a host of the lab. What is shown comes from both ends: the client's own times and
//! answer, and what the endpoint decided, from its flow table, its denials and its access log.

mod judge;
mod stories;
mod watch;

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use self::judge::{Hop, Outcome};
use self::stories::{STORIES, Story};
use self::watch::Lab;
use super::folder::Folder;
use super::output::{self, Failure, Output};
use crate::lab::up::{UpError, Wishes, up};
use crate::lab::{Folders, source};

/// Show the whole story once: invocations from the VPC and from on-premises, and each kind of denial
#[derive(Debug, Args)]
#[command(
    after_help = "Brings a lab of its own up and down again; nothing is left behind.\n\nExamples:\n  vpce demo\n  vpce demo --path vpn\n  vpce demo -o json\n\nExit codes: 0 everything came out as it should, 3 something did not."
)]
pub(super) struct Arguments {
    /// The tunnel's path profile: lan, vpn, dx.
    #[arg(long, value_name = "NAME")]
    path: Option<String>,
    /// How TUN devices are opened: `offload`, or `plain` for one packet per call.
    #[arg(long, value_name = "MODE", default_value = "offload")]
    tun: String,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode, Failure> {
    arguments.tun.parse::<crate::edge::tun::TunMode>().map_err(Failure::usage)?;
    let folder = Folder::new("demo")?;
    let progress = progress();
    progress.set_message("bringing the quickstart lab up");
    let started = Instant::now();
    let folders = Folders::choose(|name| folder.variable(name))?;
    let side = vec!["--tun".to_owned(), arguments.tun.clone()];
    let wishes = Wishes {
        path: arguments.path.clone(),
        endpoint_arguments: side.clone(),
        onprem_arguments: side,
        owned: true,
        ..Wishes::default()
    };
    let source = source::load(source::DEFAULT, false)?;
    let running = up(&source, &folders, &wishes).map_err(|error| match error {
        UpError::Running(fault) | UpError::Wish(fault) => Failure::usage(fault),
        UpError::Missing(fault) | UpError::Failed(fault) => Failure::ours(fault),
    })?;
    let up_ms = started.elapsed().as_secs_f64() * 1_000.0;
    progress.suspend(|| introduce(output, up_ms, arguments));

    let lab = Lab::new(&running, &source.topology, folder.path())?;
    let mut told = Vec::with_capacity(STORIES.len());
    for (number, story) in STORIES.iter().enumerate() {
        progress.set_message(story.title);
        let outcome = judge::tell(&lab, story);
        progress.suspend(|| show(output, number + 1, story, &outcome));
        told.push((story, outcome));
    }
    progress.set_message("taking the lab down");
    running.down()?;
    progress.finish_and_clear();
    Ok(conclude(output, up_ms, &told))
}

fn introduce(output: Output, up_ms: f64, arguments: &Arguments) {
    if output == Output::Text {
        let path = arguments.path.as_deref().unwrap_or("lan");
        output::print(&format!(
            "the quickstart lab is up after {up_ms:.0} ms, path {path}, TUN mode {}\n",
            arguments.tun
        ));
    }
}

fn show(output: Output, number: usize, story: &Story, outcome: &Outcome) {
    if output == Output::Json {
        return;
    }
    let rows: Vec<Vec<String>> = outcome.hops.iter().map(row).collect();
    let verdict = match &outcome.fault {
        None => "as it should be".to_owned(),
        Some(fault) => format!("NOT AS IT SHOULD BE: {fault}"),
    };
    output::print(&format!("\n{number}. {}\n{}   {verdict}: {}\n", story.title, output::table(3, &rows), story.lesson));
}

fn row(hop: &Hop) -> Vec<String> {
    let time = hop.time_us.map_or_else(String::new, |us| format!("{:.2} ms", us as f64 / 1_000.0));
    vec![hop.name.to_owned(), hop.verdict.to_owned(), time, hop.text.clone()]
}

fn conclude(output: Output, up_ms: f64, told: &[(&Story, Outcome)]) -> ExitCode {
    let right = told.iter().filter(|(_, outcome)| outcome.fault.is_none()).count();
    match output {
        Output::Text => {
            output::print(&format!("\n{right} of {} stories came out as they should; the lab is gone\n", told.len()))
        }
        Output::Json => output::print_json(&json!({
            "up_ms": up_ms,
            "stories": told.iter().map(|(story, outcome)| as_json(story, outcome)).collect::<Vec<_>>(),
            "right": right,
            "total": told.len(),
        })),
    }
    ExitCode::from(if right == told.len() { 0 } else { 3 })
}

fn as_json(story: &Story, outcome: &Outcome) -> Value {
    let hops = outcome
        .hops
        .iter()
        .map(|hop| json!({ "hop": hop.name, "verdict": hop.verdict, "time_us": hop.time_us, "text": hop.text }));
    json!({
        "title": story.title,
        "host": story.host,
        "hops": hops.collect::<Vec<_>>(),
        "as_it_should_be": outcome.fault.is_none(),
        "fault": outcome.fault,
    })
}

fn progress() -> ProgressBar {
    // indicatif draws only where stderr is a terminal.
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}
