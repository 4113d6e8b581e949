//! Deciding a request allocates nothing in the common case: full access, exact ARNs, wildcards, conditions on text.
#![expect(unsafe_code, reason = "a global allocator that counts can only be written so")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use vpce::policy::{Caller, Context, Policies, Policy, PolicyKind, Request, authorize};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed to the system allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `alloc` above, that is from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(run: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    run();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_decision_allocates_nothing() {
    let parse = |kind, text| Policy::parse(kind, text).expect("the policies of this test are good");
    let full_access = Policy::full_access();
    let endpoint = parse(
        PolicyKind::Endpoint,
        r#"{"Version": "2012-10-17", "Statement": [
            {"Sid": "One", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123412341234:user/MyUser"},
             "Action": "lambda:InvokeFunction", "Resource": "arn:aws:lambda:us-east-2:123456789012:function:my-function:1",
             "Condition": {"StringEquals": {"aws:SourceVpc": "vpc-ec43eb89"}, "Bool": {"aws:SecureTransport": "true"}}},
            {"Effect": "Deny", "NotPrincipal": {"AWS": ["123412341234", "arn:aws:iam::123412341234:user/MyUser"]},
             "Action": "*", "Resource": "*"}]}"#,
    );
    let identity = [parse(
        PolicyKind::Identity,
        r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "lambda:Invoke*",
            "Resource": "arn:aws:lambda:*:*:function:my-function:${aws:PrincipalTag/version, '1'}",
            "Condition": {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/${aws:username}"},
                          "DateGreaterThan": {"aws:CurrentTime": "1969-01-01"}}}}"#,
    )];
    let resource = parse(
        PolicyKind::Resource,
        r#"{"Statement": {"Effect": "Allow", "Principal": {"AWS": "123412341234"}, "Action": "lambda:InvokeFunction",
            "Resource": "arn:aws:lambda:us-east-2:123456789012:function:my-function:1"}}"#,
    );
    let caller = Caller {
        arn: "arn:aws:iam::123412341234:user/MyUser",
        account: "123412341234",
        user_id: None,
        username: Some("MyUser"),
        role_arn: None,
    };
    let context = Context { source_vpc: Some("vpc-ec43eb89"), secure_transport: true, ..Context::default() };
    let version_1 = "arn:aws:lambda:us-east-2:123456789012:function:my-function:1";
    let request = Request { caller, action: "lambda:InvokeFunction", resource: version_1, context: &context };
    for endpoint in [&full_access, &endpoint] {
        let policies = Policies { endpoint, identity: &identity, resource: Some(&resource) };
        let mut permit = None;
        assert_eq!(allocations(|| permit = authorize(&policies, &request).ok()), 0);
        assert!(permit.is_some());
        let hello = Request { resource: "arn:aws:lambda:us-east-2:123456789012:function:hello", ..request };
        let mut denial = None;
        assert_eq!(allocations(|| denial = authorize(&policies, &hello).err()), 0);
        assert!(denial.is_some());
    }
}
