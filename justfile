# What people type here; `just` alone lists it.

default:
    @just --list

# Build the program.
build:
    cargo build --release

# Everything CI runs, in CI's own script.
ci:
    bash .ci/run

# Unit, property, in-memory and real-kernel tests.
test *ARGS:
    cargo test {{ARGS}}

# Format, lints, the core without I/O, documentation.
check:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    cargo check --lib --no-default-features
    RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --no-deps --document-private-items

# Real AWS clients for the tests that need them.
clients:
    scripts/install-clients

# One fuzz target for some seconds: just fuzz packet 60
fuzz TARGET SECONDS="30":
    mkdir -p fuzz/corpus/{{TARGET}}
    cd fuzz && RUSTC_BOOTSTRAP=1 cargo fuzz run {{TARGET}} corpus/{{TARGET}} seeds/{{TARGET}} -- -max_total_time={{SECONDS}} -max_len=4096

# Criterion benches, all or those whose name matches.
bench *ARGS:
    cargo bench {{ARGS}}

# The endpoint beside what people would use instead: just compare --list
compare *ARGS:
    scripts/compare/run {{ARGS}}

# The whole story once.
demo:
    cargo run --release -- demo
