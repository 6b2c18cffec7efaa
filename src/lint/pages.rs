//! The pages themselves.

/// Every page, by id.
pub(super) const PAGES: &[&str] = &[
    include_str!("../../lints/absolute-path-in-metadata.md"),
    include_str!("../../lints/artifact-bytes-unstable.md"),
    include_str!("../../lints/build-script-reads-undeclared-env.md"),
    include_str!("../../lints/build-script-reads-undeclared-file.md"),
    include_str!("../../lints/build-script-unstable-output.md"),
    include_str!("../../lints/build-script-uses-network.md"),
    include_str!("../../lints/build-script-writes-outside-out-dir.md"),
    include_str!("../../lints/duplicate-crate-candidates.md"),
    include_str!("../../lints/macro-keeps-state.md"),
    include_str!("../../lints/macro-lists-directory.md"),
    include_str!("../../lints/macro-reads-env.md"),
    include_str!("../../lints/macro-reads-randomness.md"),
    include_str!("../../lints/macro-reads-time.md"),
    include_str!("../../lints/macro-reads-undeclared-file.md"),
    include_str!("../../lints/macro-spawns-process.md"),
    include_str!("../../lints/macro-uses-network.md"),
    include_str!("../../lints/macro-writes-file.md"),
    include_str!("../../lints/out-dir-droppings.md"),
    include_str!("../../lints/sandbox-escape.md"),
    include_str!("../../lints/stale-dependency-svh.md"),
    include_str!("../../lints/svh-flag-mismatch.md"),
    include_str!("../../lints/svh-infected.md"),
    include_str!("../../lints/svh-unstable.md"),
];
