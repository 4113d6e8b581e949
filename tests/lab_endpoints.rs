//! Endpoints created and deleted through EC2's API in a running lab: what clients, names and devices make of it.

#![expect(clippy::disallowed_types, clippy::unwrap_used, reason = "tests own files, and fail loudly")]

mod support;

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::{Lab, Ran, Tun, client, script, wait_for};

in_both_modes! {
    an_endpoint_is_created_used_and_deleted_through_the_api: [Clients];
    the_blogs_command_is_answered_as_by_aws_and_told_what_to_write: [Clients];
    what_was_acknowledged_is_there_and_in_force_after_a_kill: [Clients];
    a_capture_has_enis_that_came_to_be_after_it_began: [Clients];
    callers_of_the_api_are_verified_and_asked_for_their_policies: [Clients, Curl];
    no_acknowledged_change_is_lost_when_the_process_is_killed_while_it_writes: [Clients];
    what_is_modified_is_in_force_when_the_endpoint_is_available: [Clients];
    a_reload_does_not_undo_what_the_api_did_unless_it_is_told_to: [Clients];
    an_endpoint_in_a_lost_zone_is_out_of_service_until_the_zone_is_back: [Clients];
    a_flow_log_is_written_in_its_own_format_until_it_is_deleted: [Clients];
}

/// The devices of enis in the VPC router's namespace.
fn eni_devices(lab: &Lab) -> Vec<String> {
    let devices = lab.exec("vpce", "cat", &["/proc/net/dev"]).ok();
    let names = devices.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
    let mut enis: Vec<String> = names.filter(|name| name.starts_with("eni")).collect();
    enis.sort_unstable();
    enis
}

fn an_endpoint_is_created_used_and_deleted_through_the_api(mode: Tun) {
    let lab = Lab::quickstart(mode);
    assert_eq!(eni_devices(&lab), ["eni0"]);
    let outcomes = lab.client("app", "endpoints.py", &["subnet-cdcdcdcd"]);
    let echoed = json!({ "a": 1 });
    let expected = json!({
        "created": "pending",
        "available": "available",
        "address": outcomes["name"],
        "name": ["10.0.9.4"],
        "invoked": echoed,
        "tracked_without_rule": echoed,
        "new_without_rule": "ConnectTimeoutError",
        "new_with_rule": echoed,
        "deleted": [],
        "name_after": [],
        "tracked_after": "ReadTimeoutError",
        "state_after": "InvalidVpcEndpointId.NotFound",
    });
    assert_eq!(outcomes, expected);
    assert_eq!(eni_devices(&lab), ["eni0"], "its device is gone");
    assert_eq!(lab.denials().iter().filter(|denial| denial["reason"] == "ENI_SG_RULES_MISMATCH").count(), 1);
}

/// The AWS CLI on a host of the lab.
fn aws(lab: &Lab, words: &str) -> Ran {
    lab.exec("app", client("aws"), &words.split(' ').collect::<Vec<_>>())
}

/// A client on the machine outside, as `Admin`.
fn outside(lab: &Lab, program: &str) -> (Command, String) {
    let status = lab.status();
    let key = |name: &str| status["identities"][0][name].as_str().unwrap().to_owned();
    let mut command = Command::new(client(program));
    command.env("AWS_ACCESS_KEY_ID", key("access_key_id")).env("AWS_SECRET_ACCESS_KEY", key("secret_access_key"));
    (command, status["api"].as_str().unwrap().to_owned())
}

/// The AWS CLI there, at the port that the lab gives it.
fn aws_outside(lab: &Lab, words: &str) -> Value {
    let (mut command, url) = outside(lab, "aws");
    command.args(["--endpoint-url", &url, "--region", "us-east-2"]).args(words.split(' '));
    Ran::from(command.output().unwrap()).json()
}

fn kill_endpoint(lab: &Lab) {
    let pid = lab.process("endpoint")["pid"].to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
}

fn the_blogs_command_is_answered_as_by_aws_and_told_what_to_write(mode: Tun) {
    let lab = Lab::quickstart(mode);
    let blog = "ec2 create-vpc-endpoint --vpc-id vpc-ec43eb89 --vpc-endpoint-type Interface --service-name \
                lambda.us-east-2.amazonaws.com --subnet-id subnet-abababab --security-group-id sg-1a2b3c4d";
    let refused = aws(&lab, blog);
    for part in [
        "(InvalidServiceName)",
        "The Vpc Endpoint Service 'lambda.us-east-2.amazonaws.com' does not exist",
        "com.amazonaws.us-east-2.lambda",
    ] {
        assert!(refused.code != 0 && refused.stderr.contains(part), "{refused:?}");
    }
    // With the right name there is still the private DNS of the first endpoint.
    let mended = blog.replace("lambda.us-east-2.amazonaws.com", "com.amazonaws.us-east-2.lambda");
    let refused = aws(&lab, &mended);
    assert!(
        refused.stderr.contains("there is already a conflicting DNS domain for lambda.us-east-2.amazonaws.com"),
        "{refused:?}"
    );
    let first = &aws(&lab, "ec2 describe-vpc-endpoints").json()["VpcEndpoints"][0];
    assert_eq!((&first["VpcEndpointId"], &first["State"]), (&json!("vpce-0123456789abcdef0"), &json!("available")));
    let deleted = aws(&lab, "ec2 delete-vpc-endpoints --vpc-endpoint-ids vpce-0123456789abcdef0").json();
    assert_eq!(deleted["Unsuccessful"], json!([]));
    wait_for("it is gone", 10, || {
        (aws(&lab, "ec2 describe-vpc-endpoints").json()["VpcEndpoints"] == json!([])).then_some(())
    });
    let created = aws(&lab, &mended).json();
    let id = created["VpcEndpoint"]["VpcEndpointId"].as_str().unwrap().to_owned();
    wait_for("it is available", 10, || {
        let found = aws(&lab, &format!("ec2 describe-vpc-endpoints --vpc-endpoint-ids {id}")).json();
        (found["VpcEndpoints"][0]["State"] == "available").then_some(())
    });
    let answer = aws(&lab, "lambda invoke --function-name echo /dev/null").json();
    assert_eq!(answer["StatusCode"], 200, "by the service's own name, through the new endpoint");
    assert_eq!(lab.status()["endpoints"][0]["id"], json!(id));
}

fn what_was_acknowledged_is_there_and_in_force_after_a_kill(mode: Tun) {
    let lab = Lab::quickstart(mode);
    let who = aws_outside(&lab, "sts get-caller-identity");
    assert_eq!(who["Arn"], "arn:aws:iam::123456789012:user/Admin");
    // The stranger's subnet is let in.
    let rule =
        "ec2 authorize-security-group-ingress --group-id sg-1a2b3c4d --protocol tcp --port 443 --cidr 10.0.9.0/24";
    let rule = aws_outside(&lab, rule)["SecurityGroupRules"][0]["SecurityGroupRuleId"].as_str().unwrap().to_owned();
    let reach = |lab: &Lab| lab.probe("stranger", &["connect", "10.0.1.100", "443", "1.5"])["outcome"].clone();
    assert_eq!(reach(&lab), "connected");

    kill_endpoint(&lab);
    lab.up_again(&["--replace", "--keep", "--tun", mode.name()]);
    assert_eq!(reach(&lab), "connected");
    let rules = aws_outside(&lab, "ec2 describe-security-group-rules --filters Name=group-id,Values=sg-1a2b3c4d");
    let ids = rules["SecurityGroupRules"].as_array().unwrap().iter().map(|known| known["SecurityGroupRuleId"].clone());
    assert_eq!(ids.filter(|id| *id == json!(rule)).count(), 1, "{rules}");
    // Not under a topology with other machines.
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/netns/quickstart.toml")).unwrap();
    let moved = text
        .replace("ipv4 = \"10.0.9.10\"", "ipv4 = \"10.0.9.11\"")
        .replace("functions/", concat!(env!("CARGO_MANIFEST_DIR"), "/netns/functions/"));
    assert_ne!(moved, text);
    let file = lab.folder().join("moved.toml");
    std::fs::write(&file, moved).unwrap();
    let refused = lab.lab(&["up", file.to_str().unwrap(), "--replace", "--keep"]);
    assert!(refused.code == 1 && refused.stderr.contains("of a lab with other subnets or hosts"), "{refused:?}");
    // Without `--keep` the lab is as its file says.
    lab.up_again(&["--tun", mode.name()]);
    assert_eq!(reach(&lab), "timeout");
}

fn a_reload_does_not_undo_what_the_api_did_unless_it_is_told_to(mode: Tun) {
    let lab = Lab::quickstart(mode);
    let rule =
        "ec2 authorize-security-group-ingress --group-id sg-1a2b3c4d --protocol tcp --port 443 --cidr 10.0.9.0/24";
    aws(&lab, rule).ok();
    let refused = lab.lab(&["reload"]);
    assert!(refused.code == 1 && refused.stderr.contains("changed through its API"), "{refused:?}");
    assert!(refused.stderr.contains("vpce lab reload --discard-api-changes"), "{refused:?}");
    assert_eq!(lab.probe("stranger", &["connect", "10.0.1.100", "443", "1.5"])["outcome"], "connected");
    let text = lab.lab(&["reload", "--discard-api-changes"]).ok();
    assert!(text.contains("sg-1a2b3c4d ingress: - tcp/443 from 10.0.9.0/24"), "{text}");
    assert_eq!(lab.probe("stranger", &["connect", "10.0.1.100", "443", "1.5"])["outcome"], "timeout");
    let group = aws(&lab, "ec2 describe-security-groups --group-ids sg-1a2b3c4d");
    assert!(!group.stdout.contains("10.0.9.0/24"), "the API shows what the file says: {group:?}");
    lab.lab(&["reload"]).ok();
    // A tag is nothing to the data plane, and yet would be lost.
    aws(&lab, "ec2 create-tags --resources sg-1a2b3c4d --tags Key=a,Value=b").ok();
    assert_eq!(lab.lab(&["reload"]).code, 1);
}

fn an_endpoint_in_a_lost_zone_is_out_of_service_until_the_zone_is_back(mode: Tun) {
    let lab = Lab::quickstart(mode);
    lab.fault(&["az", "us-east-2a", "down"]).ok();
    let words = "ec2 create-vpc-endpoint --vpc-id vpc-ec43eb89 --vpc-endpoint-type Interface --service-name \
                 com.amazonaws.us-east-2.lambda --subnet-ids subnet-cdcdcdcd --security-group-ids sg-1a2b3c4d \
                 --no-private-dns-enabled";
    aws(&lab, words).ok();
    let healthy = |lab: &Lab| lab.status()["endpoints"][1]["enis"][0]["healthy"].clone();
    assert_eq!(healthy(&lab), false);
    let reach = |lab: &Lab| lab.probe("app", &["connect", "10.0.9.4", "443", "1.5"])["outcome"].clone();
    assert_eq!(reach(&lab), "timeout");
    assert!(lab.denials().iter().any(|denial| denial["reason"] == "ENI_DOWN"));
    lab.fault(&["az", "us-east-2a", "up"]).ok();
    assert_eq!((healthy(&lab), reach(&lab)), (json!(true), json!("connected")));
}

fn a_flow_log_is_written_in_its_own_format_until_it_is_deleted(mode: Tun) {
    let interval = ("[resolver]", "[endpoint.settings]\nflow_log_interval = \"1s\"\n\n[resolver]");
    let lab = Lab::changed(&[interval], &["--tun", mode.name()]);
    let words = "ec2 create-flow-logs --resource-type VPC --resource-ids vpc-ec43eb89 --traffic-type REJECT --log-destination-type s3 \
                 --log-destination arn:aws:s3:::bucket --max-aggregation-interval 60 --log-format";
    let mut words: Vec<&str> = words.split_ascii_whitespace().collect();
    words.push("${srcaddr} ${dstport} ${tcp-flags} ${flow-direction} ${action} ${subnet-id}");
    let created = lab.exec("app", client("aws"), &words).json();
    let id = created["FlowLogIds"][0].as_str().unwrap().to_owned();
    let file = lab.state_file("logs/flow-logs").join(&id).with_extension("log");
    wait_for("the log begins", 10, || file.exists().then_some(()));
    assert_eq!(lab.probe("app", &["connect", "10.0.1.100", "443"])["outcome"], "connected");
    assert_eq!(lab.probe("stranger", &["connect", "10.0.1.100", "443", "0.5"])["outcome"], "timeout");
    let line = wait_for("the record", 20, || {
        std::fs::read_to_string(&file).unwrap().lines().find(|line| line.contains("REJECT")).map(str::to_owned)
    });
    assert_eq!(line, "10.0.9.10 443 2 ingress REJECT subnet-abababab");
    assert!(!std::fs::read_to_string(&file).unwrap().contains("ACCEPT"));
    let described = &aws(&lab, "ec2 describe-flow-logs").json()["FlowLogs"][0];
    assert_eq!((&described["FlowLogId"], &described["FlowLogStatus"]), (&json!(id), &json!("ACTIVE")));
    aws(&lab, &format!("ec2 delete-flow-logs --flow-log-ids {id}")).ok();
    assert_eq!(aws(&lab, "ec2 describe-flow-logs").json()["FlowLogs"], json!([]));
}

fn what_is_modified_is_in_force_when_the_endpoint_is_available(mode: Tun) {
    let lab = Lab::quickstart(mode);
    let outcomes = lab.client("app", "modify.py", &[]);
    let echoed = json!({ "a": 1 });
    let expected = json!({
        "before": ["10.0.1.100"],
        "second_subnet_of_a_zone": "DuplicateSubnetsInSameZone",
        "without_subnet": ["pending", [], []],
        "other_subnet": [["subnet-cdcdcdcd"], ["10.0.9.4"], echoed],
        "bad_policy": "InvalidPolicyDocument",
        "denied": "AccessDeniedException",
        "allowed": echoed,
        "default_group": echoed,
        "default_group_without_rules": "ConnectTimeoutError",
        "own_group": echoed,
        "public_name": ["192.0.2.1"],
        "private_name": ["10.0.9.4"],
    });
    assert_eq!(outcomes, expected);
    assert_eq!(eni_devices(&lab), ["eni1"]);
}

fn no_acknowledged_change_is_lost_when_the_process_is_killed_while_it_writes(mode: Tun) {
    let lab = Lab::quickstart(mode);
    let acknowledged = lab.folder().join("acknowledged");
    for killed_after in [5, 40] {
        let (mut writer, url) = outside(&lab, "python3");
        writer.arg(script("writer.py")).args([&url, "vpc-ec43eb89"]).stderr(Stdio::inherit());
        let mut writer = writer.stdout(std::fs::File::create(&acknowledged).unwrap()).spawn().unwrap();
        let read = || std::fs::read_to_string(&acknowledged).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
        wait_for("groups are created", 20, || (read().len() >= killed_after).then_some(()));
        kill_endpoint(&lab);
        assert!(writer.wait().unwrap().success());
        lab.up_again(&["--replace", "--keep", "--tun", mode.name()]);
        let there = aws_outside(&lab, "ec2 describe-security-groups --filters Name=description,Values=written");
        let there: Vec<&str> = there["SecurityGroups"]
            .as_array()
            .unwrap()
            .iter()
            .map(|group| group["GroupName"].as_str().unwrap())
            .collect();
        let acknowledged = read();
        assert!(acknowledged.iter().all(|name| there.contains(&name.as_str())), "{acknowledged:?} {there:?}");
        // One more may have been made, whose answer nobody got.
        assert!(there.len() <= acknowledged.len() + 1, "{acknowledged:?} {there:?}");
        lab.up_again(&["--replace", "--tun", mode.name()]);
    }
}

fn callers_of_the_api_are_verified_and_asked_for_their_policies(mode: Tun) {
    let lab = Lab::quickstart(mode);
    let url = "https://ec2.us-east-2.amazonaws.com/";
    let key = lab.status()["identities"][0]["access_key_id"].as_str().unwrap().to_owned();
    let now = Ran::from(Command::new("date").args(["-u", "+%Y%m%dT%H%M%SZ"]).output().unwrap()).ok();
    let (now, day) = (now.trim(), &now[..8]);
    let forged = format!(
        "Authorization: AWS4-HMAC-SHA256 Credential={key}/{day}/us-east-2/ec2/aws4_request, SignedHeaders=host;x-amz-date, \
         Signature=deadbeef"
    );
    let ask = |headers: &[&str]| {
        let headers = headers.iter().flat_map(|header| ["--header", header]);
        let words = ["--data", "Action=DescribeVpcs&Version=2016-11-15", "--write-out", " %{http_code}", url];
        lab.curl("app", &headers.chain(words).collect::<Vec<_>>()).ok()
    };
    for (headers, code, status) in [
        (vec![], "<Code>MissingAuthenticationToken</Code>", " 403"),
        (vec![forged.as_str(), &format!("X-Amz-Date: {now}")], "<Code>AuthFailure</Code>", " 401"),
        (vec![forged.as_str(), "X-Amz-Date: 20200101T000000Z"], "<Code>RequestExpired</Code>", " 400"),
    ] {
        let answer = ask(&headers);
        assert!(answer.contains(code) && answer.ends_with(status), "{headers:?} {answer}");
    }
    let mut command = lab.command("MyUser", "app", client("aws"));
    let refused = Ran::from(command.args(["ec2", "describe-vpcs"]).output().unwrap());
    for part in ["(UnauthorizedOperation)", "user/MyUser is not authorized to perform: ec2:DescribeVpcs"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    let mut command = lab.command("MyUser", "app", client("aws"));
    let who = Ran::from(command.args(["sts", "get-caller-identity"]).output().unwrap()).json();
    assert_eq!(who["Arn"], "arn:aws:iam::123412341234:user/MyUser", "nobody may be denied that");
}

fn a_capture_has_enis_that_came_to_be_after_it_began(mode: Tun) {
    let lab = Lab::quickstart(mode);
    let file = lab.folder().join("c.pcapng");
    lab.up_again(&["--replace", "--tun", mode.name(), "--capture", file.to_str().unwrap()]);
    let words = "ec2 create-vpc-endpoint --vpc-id vpc-ec43eb89 --vpc-endpoint-type Interface --service-name \
                 com.amazonaws.us-east-2.lambda --subnet-ids subnet-cdcdcdcd --security-group-ids sg-1a2b3c4d \
                 --no-private-dns-enabled";
    let created = aws(&lab, words).json();
    assert_eq!(lab.probe("app", &["connect", "10.0.9.4", "443"])["outcome"], "connected");
    let endpoint = created["VpcEndpoint"]["VpcEndpointId"].as_str().unwrap();
    aws(&lab, &format!("ec2 delete-vpc-endpoints --vpc-endpoint-ids {endpoint}")).ok();
    lab.lab(&["down"]).ok();
    let capture = std::fs::read(&file).unwrap();
    let has = |bytes: &[u8]| capture.windows(bytes.len()).any(|part| part == bytes);
    assert!(has(b"eni0") && has(b"eni1"), "both interfaces are described");
    // The SYN: from 10.0.1.10 to 10.0.9.4, and its answer.
    assert!(has(&[10, 0, 1, 10, 10, 0, 9, 4]) && has(&[10, 0, 9, 4, 10, 0, 1, 10]));
}
