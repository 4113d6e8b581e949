//! `vpce load`: the load generator alone, in the current network namespace or on a host of a lab.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::output::{self, Failure, Output};
use crate::edge::namespace::{self, NetworkNamespace};
use crate::edge::{Fault, OrFault};
use crate::lab::client;
use crate::load::generator::{self, Job, Mode};
use crate::load::machine::{self, Watched};
use crate::load::report::{Measured, Report};
use crate::load::requests::{Exchange, SMALLEST_ECHO, Signing};
use crate::load::trust::{Cipher, TlsVersion};
use crate::sigv4::{Credential, Principal};

/// Send requests to a server, as many as one processor can, verify every answer, and say how fast it was
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Requests are signed if AWS_ACCESS_KEY_ID is set, as on the hosts of a lab. Latencies of a closed loop are service times; \
with `--rate` they count from when a request was due.

Examples:
  vpce lab exec app -- vpce load https://lambda.us-east-2.amazonaws.com/2015-03-31/functions/echo/invocations
  vpce load --host app https://lambda.us-east-2.amazonaws.com/2015-03-31/functions/echo/invocations --connect 10.0.1.100:443
  vpce load https://example.test:8443/ --ca ca.pem --exchange get --mode connect --cpu 1 --cpu-of nginx=4711

Exit codes: 0 done, 1 a wrong answer or none, 2 wrong usage.")]
pub(super) struct Arguments {
    /// `https://NAME[:PORT]/PATH`
    url: String,
    /// Where to connect to, instead of what the name resolves to.
    #[arg(long, value_name = "ADDRESS:PORT")]
    connect: Option<SocketAddr>,
    /// What connections are for.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// What is sent and is to come back.
    #[arg(long, value_enum, default_value_t)]
    exchange: Kind,
    /// Bytes of the payload that is echoed, uploaded or downloaded.
    #[arg(long, value_name = "BYTES")]
    payload: Option<usize>,
    /// Connections that work at the same time.
    #[arg(long, short, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Connections held open beside them; measures before and with them.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=60_000))]
    idle: u32,
    /// Requests per second (open loop); without it each connection sends when it was answered (closed loop).
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
    /// How long is measured: 5s, 500ms.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = time)]
    duration: Duration,
    /// How long is worked before that, unmeasured.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    warm_up: Duration,
    /// Certificates to trust, PEM.
    #[arg(long, value_name = "FILE", env = "AWS_CA_BUNDLE")]
    ca: PathBuf,
    /// The version of TLS.
    #[arg(long, value_enum, default_value_t)]
    tls: TlsVersion,
    /// The cipher that is offered.
    #[arg(long, value_enum, default_value_t)]
    cipher: Cipher,
    /// The region to sign for.
    #[arg(long, value_name = "NAME", env = "AWS_REGION", default_value = "us-east-2")]
    region: String,
    /// The processor to run on.
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// A process whose processor time is wanted, with its descendants; may be repeated.
    #[arg(long, value_name = "[NAME=]PID")]
    cpu_of: Vec<Watched>,
    /// Run on this host of a running lab, with the first identity's keys and the lab's authority.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// The lab, if several run.
    #[arg(long, value_name = "NAME", requires = "host")]
    lab: Option<String>,
    /// Have every latency that occurred in the JSON.
    #[arg(long, hide = true)]
    recorded: bool,
}

/// What is sent and is to come back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Kind {
    /// A numbered payload, and the same (built-in function `echo`).
    #[default]
    Echo,
    /// A large payload, and its length and CRC-32 (built-in function `sink`).
    Upload,
    /// An event, and a large payload (built-in function `source`).
    Download,
    /// A GET, and anything that has the same length every time.
    Get,
}

pub(super) fn time(text: &str) -> Result<Duration, String> {
    crate::config::duration(text).and_then(|time| {
        let fits = !time.is_zero() && time <= Duration::from_secs(3600);
        if fits { Ok(time) } else { Err("is not between a nanosecond and an hour".to_owned()) }
    })
}

pub(super) fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| (0.01..=1e7).contains(rate));
    rate.ok_or_else(|| "is no rate between 0.01 and 10,000,000 per second".to_owned())
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<ExitCode, Failure> {
    let job = job(arguments)?;
    let mut report = generator::run(&job)?;
    if !arguments.recorded {
        report.window.latency.recorded.clear();
        if let Some(idle) = &mut report.idle {
            idle.before.latency.recorded.clear();
        }
    }
    match output {
        Output::Json => output::print_json(&serde_json::to_value(&report).or_fault(|| "cannot phrase the report")?),
        Output::Text => output::print(&text(&report)),
    }
    Ok(ExitCode::SUCCESS)
}

fn job(arguments: &Arguments) -> Result<Job, Failure> {
    let (name, port, path) = split(&arguments.url).map_err(Failure::usage)?;
    let exchange = exchange(arguments)?;
    let mut signing = signing_of_environment(&arguments.region)?;
    let mut trusted = arguments.ca.clone();
    if let Some(host) = &arguments.host {
        let (lab, directories) = super::lab::chosen(arguments.lab.as_deref())?;
        let joined = client::join(&directories, &lab, host)?;
        let credentials = crate::lab::secrets::Credentials::load(&directories)?;
        let key = credentials.choose(None)?;
        signing = Some(signing_with(&key.access_key_id, &key.secret_access_key, &arguments.region)?);
        trusted = directories.ca_certificate();
        namespace::enter_user(&joined.user)?;
        NetworkNamespace::from(joined.network).enter()?;
    }
    let target = match arguments.connect {
        Some(address) => address,
        None => resolve(&name, port)?,
    };
    if let Some(cpu) = arguments.cpu {
        machine::pin_thread(&[cpu]).map_err(Failure::usage)?;
    }
    Ok(Job {
        target,
        name,
        path,
        trusted,
        tls: arguments.tls,
        cipher: arguments.cipher,
        exchange,
        signing,
        mode: arguments.mode,
        connections: arguments.connections as usize,
        idle: arguments.idle as usize,
        rate: arguments.rate,
        warm_up: arguments.warm_up,
        duration: arguments.duration,
        watched: arguments.cpu_of.clone(),
    })
}

fn exchange(arguments: &Arguments) -> Result<Exchange, Failure> {
    let large = crate::lambda::invoke::SYNC_PAYLOAD_MAX;
    let (default, least, most) = match arguments.exchange {
        Kind::Echo => (128, SMALLEST_ECHO, large),
        Kind::Upload | Kind::Download => (large, 2, large),
        Kind::Get => (0, 0, 0),
    };
    let payload = arguments.payload.unwrap_or(default);
    if !(least..=most).contains(&payload) {
        let fault = Fault::new(format!("a payload of {payload} bytes does not go with this exchange"));
        return Err(Failure::usage(fault.remedy(format!("use {least} to {most}"))));
    }
    Ok(match arguments.exchange {
        Kind::Echo => Exchange::Echo(payload),
        Kind::Upload => Exchange::Upload(payload),
        Kind::Download => Exchange::Download(payload),
        Kind::Get => Exchange::Get,
    })
}

/// Name, port and path of a URL.
fn split(url: &str) -> Result<(String, u16, String), Fault> {
    let wrong = |what: &str| {
        let example = "https://lambda.us-east-2.amazonaws.com/2015-03-31/functions/echo/invocations";
        Fault::new(format!("{url:?} {what}")).remedy(format!("such as {example}"))
    };
    let uri: http::Uri = url.parse().map_err(|_| wrong("is no URL"))?;
    if uri.scheme_str() != Some("https") {
        return Err(wrong("does not begin with https://"));
    }
    let name = uri.host().filter(|name| !name.is_empty()).ok_or_else(|| wrong("names no host"))?;
    let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    Ok((name.to_owned(), uri.port_u16().unwrap_or(443), path.to_owned()))
}

fn resolve(name: &str, port: u16) -> Result<SocketAddr, Fault> {
    let addresses = (name, port).to_socket_addrs().or_fault(|| format!("{name} does not resolve"))?;
    // IPv4 first, so that a run is like the one before.
    let address = addresses.min_by_key(SocketAddr::is_ipv6);
    address.ok_or_else(|| Fault::new(format!("{name} has no address")).remedy("give one with --connect"))
}

fn signing_of_environment(region: &str) -> Result<Option<Signing>, Fault> {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
        (Some(id), Some(secret)) => signing_with(&id, &secret, region).map(Some),
        _ => Ok(None),
    }
}

fn signing_with(id: &str, secret: &str, region: &str) -> Result<Signing, Fault> {
    // Only the key signs; who it belongs to is the endpoint's business.
    let nobody = Principal::from_arn("arn:aws:iam::000000000000:user/load").or_fault(|| "no principal")?;
    Ok(Signing { credential: Credential::new(id, secret, Arc::new(nobody)), region: region.to_owned() })
}

fn text(report: &Report) -> String {
    let connections = if report.idle.is_some() { "working connections" } else { "connections" };
    let head = format!(
        "{} on {} {connections} ({}), {}\n{}\n",
        report.exchange, report.connections, report.mode, report.target, report.tls
    );
    let idle = report.idle.as_ref().map_or_else(String::new, |idle| {
        let each = idle.rss_per_connection.iter().map(|(name, bytes)| format!("{name} {:.1} KiB", bytes / 1024.0));
        let ratio = report.window.per_second / idle.before.per_second;
        let each = each.collect::<Vec<_>>().join(", ");
        format!(
            "before:\n{}with {} idle connections ({ratio:.3} times as fast; memory of each: {each}):\n",
            measured(&idle.before),
            idle.connections
        )
    });
    format!("{head}{idle}{}{}\n", measured(&report.window), report.window.latency.kind)
}

fn measured(window: &Measured) -> String {
    let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
    let latency = &window.latency;
    let gigabits = |bytes: u64| format!("{:.2} Gbit/s", bytes as f64 * 8.0 / window.seconds / 1e9);
    let us = |us: f64| format!("{us:.1} µs");
    let mut rows = vec![
        row(&["answers", &format!("{} in {:.2} s", window.answers, window.seconds)]),
        row(&["per second", &format!("{:.0}", window.per_second)]),
        row(&["payload", &format!("up {}, down {}", gigabits(window.bytes_sent), gigabits(window.bytes_received))]),
        row(&["handshakes", &format!("{} full, {} resumed", window.handshakes, window.resumptions)]),
        row(&[
            "latency",
            &format!(
                "p50 {}, p90 {}, p99 {}, p99.9 {}, max {}",
                us(latency.p50_us),
                us(latency.p90_us),
                us(latency.p99_us),
                us(latency.p999_us),
                us(latency.max_us)
            ),
        ]),
        row(&["load generator", &format!("{:.0} % of a processor", window.load_generator_share * 100.0)]),
    ];
    for process in &window.processes {
        let each = |seconds: f64| seconds * 1e6 / window.answers.max(1) as f64;
        let (user, system) = (process.cpu.user_s, process.cpu.system_s);
        rows.push(row(&[
            &process.name,
            &format!(
                "{user:.2} s user, {system:.2} s system; {:.2} + {:.2} µs for each answer; {} MiB",
                each(user),
                each(system),
                process.rss_bytes >> 20
            ),
        ]));
    }
    let limit = window.limit().unwrap_or_else(|| "no processor".to_owned());
    rows.push(row(&["limited by", &limit]));
    output::table(2, &rows)
}
