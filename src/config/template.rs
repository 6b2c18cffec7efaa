//! What `svhcheck init` writes.

/// A configuration that changes nothing: every setting is a comment.
pub const TEMPLATE: &str = r#"# svhcheck's configuration. Every setting is a comment until its `#` is taken away;
# what the command line says wins over this file. `svhcheck lints` lists the lints.

# Ways to make a crate, judged one by one.
#strategies = ["full", "quit-on-rmeta", "hollow"]

# What to change about the world between two compiles; "default" is all but build-path.
#vary = ["default", "build-path"]

# Compiles of each replayed side; more find what rarely shows.
#runs = 1

# What confines replays: "auto", "namespaces", "landlock" or "none".
#sandbox = "auto"

# Findings that were there before svhcheck was (`svhcheck baseline write`): only new ones fail.
#baseline = "svhcheck-baseline.toml"

# Further crates that are known to be at fault, in the form of svhcheck's own list.
#known-offenders = "tools/known-offenders.toml"

# Levels by lint or group (`svhcheck lints` lists them): "allow", "warn" or "deny".
[levels]
#hermeticity = "warn"
#svh-infected = "allow"

# Levels for some crates: by label, package, or package@version; `*` stands for any text.
#[[crate]]
#match = "//third_party/*"
#levels = { hermeticity = "allow" }

# One fault that is known and has to be lived with. After the day it is back.
#[[allow]]
#lint = "svh-unstable"
#crate = "ahash"
#reason = "waits for the next release of ahash"
#expires = 2027-01-31

# Files that macros and build scripts may read although the build does not declare them, relative to
# this file: your build rules list them.
#[[inputs]]
#crate = "//gen:gen"
#files = ["config/**/*.toml"]
"#;
