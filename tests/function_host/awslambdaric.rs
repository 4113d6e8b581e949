//! AWS's own runtime client for Python, beside ours.

use super::*;

/// A Python with AWS's own runtime client, if someone installed one.
fn awslambdaric() -> Option<PathBuf> {
    let clients = std::env::var_os("VPCE_CLIENTS").map(PathBuf::from);
    let clients = clients.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/clients"));
    let python = clients.join("bin/python3");
    let import = Command::new(&python).args(["-c", "import awslambdaric"]).output();
    if import.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("skipped: {} has no awslambdaric", clients.display());
    None
}

/// The same handler under AWS's own Python runtime client and under ours gives the same answers, byte for byte.
#[tokio::test]
async fn awslambdaric_works_and_agrees_with_our_python() {
    let Some(python3) = awslambdaric() else { return };
    let source = r#"
import decimal
def handler(event, context):
    if event == "raise": raise ValueError("no good")
    if event == "nested":
        try: {}["x"]
        except KeyError as error: raise RuntimeError("outer") from error
    if event == "set": return {1}
    if event == "number": return decimal.Decimal("2.5")
    return [event, context.function_version, context.invoked_function_arn, context.aws_request_id,
            context.memory_limit_in_mb, context.client_context.custom if context.client_context else None]
"#;
    let folder = tempfile::tempdir().unwrap();
    let script = format!("#!/bin/sh\nexec {} -m awslambdaric \"$_HANDLER\"\n", python3.display());
    let theirs = bootstrap(folder.path(), "theirs", &script);
    let root = folder.path().join("theirs");
    std::fs::write(root.join("app.py"), source).unwrap();
    let code = Code::Bootstrap { path: root.clone(), handler: "app.handler".into() };
    // Not `provided`: their encoder asks for the runtime, as ours does.
    let theirs = Function { code, runtime: "python3.11".into(), ..theirs };
    let ours = function("ours", Code::Python { path: root.clone(), handler: "app.handler".into() });
    std::fs::write(root.join("raises.py"), "def deep(): 1 / 0\ndeep()\n").unwrap();
    std::fs::write(root.join("syntax.py"), "x = (\n").unwrap();
    let mut functions = vec![theirs.clone(), ours];
    let broken = ["app.missing", "raises.handler", "syntax.handler", "nowhere.handler", "time.handler", "nodot"];
    for (number, handler) in broken.iter().enumerate() {
        let code = Code::Bootstrap { path: root.clone(), handler: (*handler).into() };
        functions.push(Function { name: format!("theirs-{number}"), code, ..theirs.clone() });
        let code = Code::Python { path: root.clone(), handler: (*handler).into() };
        functions.push(function(&format!("ours-{number}"), code));
    }
    let lab = Lab::up_under(functions, Limits::default(), Some(python3)).await;
    let context = BASE64.encode(r#"{"custom":{"k":"ü"}}"#);
    let headers = [
        ("x-vpce-request-id", "id-1"),
        ("x-vpce-invoked-function-arn", "arn:aws:lambda:us-east-2:123456789012:function:same"),
        ("x-amz-client-context", &*context),
    ];
    for event in
        [r#"{"a": "ü", "b": [1, 2.5, null, true]}"#, "\"raise\"", "\"nested\"", "\"number\"", "\"plain\"", "[]"]
    {
        let their_answer = lab.invoke("theirs", &headers, event).await;
        let our_answer = lab.invoke("ours", &headers, event).await;
        assert_eq!(their_answer.text(), our_answer.text(), "{event}");
        assert_eq!(their_answer.error(), our_answer.error(), "{event}");
    }
    for (number, handler) in broken.iter().enumerate() {
        let theirs = lab.invoke(&format!("theirs-{number}"), &headers, "{}").await;
        let ours = lab.invoke(&format!("ours-{number}"), &headers, "{}").await;
        assert_eq!((theirs.error(), theirs.text()), (ours.error(), ours.text()), "{handler}");
    }
    assert_eq!(lab.status("theirs")["cold_starts"], 1);
}
