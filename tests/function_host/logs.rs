//! `LogType: Tail`.

use super::*;

#[tokio::test]
async fn the_log_tail_is_of_this_invocation_alone() {
    require_python!();
    let source = "import logging\nprint('while starting')\n\
                  def handler(event, context):\n    print(event)\n    logging.warning('careful')\n    print('no newline', end='')\n";
    let lab = Lab::up(vec![python("logs", source)]).await;
    let cold = lab.invoke("logs", &[("x-vpce-request-id", "a"), ("x-amz-log-type", "Tail")], r#""first""#).await.log();
    let warm = lab.invoke("logs", &[("x-vpce-request-id", "b"), ("x-amz-log-type", "Tail")], r#""second""#).await.log();
    assert!(cold.starts_with("START RequestId: a Version: $LATEST\nfirst\n[WARNING]\t"), "{cold}");
    assert!(warm.starts_with("START RequestId: b Version: $LATEST\nsecond\n[WARNING]\t"), "{warm}");
    assert!(warm.contains("Z\tb\tcareful\nno newline\nEND RequestId: b\nREPORT RequestId: b\tDuration: "), "{warm}");
    assert!(cold.contains("\tMemory Size: 256 MB\tMax Memory Used: "), "{cold}");
    assert!(cold.contains("\tInit Duration: ") && cold.ends_with(" ms\t\n"), "{cold}");
    assert!(!warm.contains("Init Duration") && warm.ends_with(" MB\t\n"), "{warm}");
    let used: u64 = warm.split("Max Memory Used: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((3..256).contains(&used), "{warm}");
    assert_eq!(lab.invoke("logs", &[], "1").await.header("x-amz-log-result"), None);
}

#[tokio::test]
async fn a_long_log_is_cut_to_its_last_four_kilobytes() {
    require_python!();
    let source = "def handler(event, context):\n    for line in range(100000): print(line)\n";
    let lab = Lab::up(vec![python("chatty", source)]).await;
    let log = lab.invoke("chatty", &[("x-amz-log-type", "Tail")], "{}").await.log();
    assert_eq!(log.len(), 4096);
    assert!(log.contains("\n99998\n99999\nEND RequestId: "), "{log}");
}
