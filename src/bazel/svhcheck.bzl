"""Checks every Rust crate of a build as an aspect.

Each compile that makes a library or proc macro gets a second action beside it. It runs the same
command again, elsewhere, by each strategy, and compares SVHs with what the build made, which is an
input. Bazel caches what it finds like any other output, and runs it where rustc runs: in the sandbox,
or on the cluster.

Output groups: `svh_reports` holds a report for each crate, and `_validation` fails the build for a
crate that has two SVHs.
"""

# How crates are made, and what is varied (see `svhcheck --help`).
STRATEGIES = "full,quit-on-rmeta"
VARY = "default"

_TOOLCHAIN = "@rules_rust//rust:toolchain_type"

# What holds the metadata of a crate in full.
_LIBRARIES = ["rlib", "so", "dylib", "dll"]

SvhInfo = provider(
    doc = "What is known of a target and all that it depends on.",
    fields = {
        "reports": "depset of files: a report for each crate",
        "verdicts": "depset of files that can be made only for good crates",
    },
)

def _dependencies(ctx):
    """The targets that a rule names in any of its attributes."""
    found = []
    for name in dir(ctx.rule.attr):
        value = getattr(ctx.rule.attr, name)
        for own in value if type(value) == "list" else [value]:
            if type(own) == "Target":
                found.append(own)
    return found

def _check(target, ctx, number, action, made):
    """Declares the two actions for one compile."""
    name = "{}.{}.svh".format(target.label.name, number)
    report = ctx.actions.declare_file(name + ".json")
    verdict = ctx.actions.declare_file(name + ".ok")
    requirements = {
        tag: ""
        for tag in getattr(ctx.rule.attr, "tags", [])
        if tag.startswith(("no-", "requires-", "supports-", "local", "cpu:", "resources:", "exclusive"))
    }

    inputs = ctx.actions.args()
    inputs.use_param_file("--inputs=%s", use_always = True)
    inputs.set_param_file_format("multiline")
    inputs.add_all(action.inputs, expand_directories = False)

    own = ctx.actions.args()
    own.add("replay-action")
    own.add("--label", str(target.label))
    own.add("--report", report)
    own.add("--strategies", STRATEGIES)
    own.add("--vary", VARY)
    own.add_all(made, before_each = "--made")

    # What dependents were compiled against, where an action of its own makes it.
    for other in target.actions:
        if other.mnemonic == "RustcMetadata":
            own.add_all(other.outputs, before_each = "--metadata")

    # Whose the proc macros are.
    for dep in _dependencies(ctx):
        for file in dep[DefaultInfo].files.to_list():
            if file.extension in _LIBRARIES:
                own.add_all(["--dep", file.path, str(dep.label)])
    end = ctx.actions.args()
    end.add("--")

    ctx.actions.run(
        executable = ctx.executable._svhcheck,
        arguments = [own, inputs, end] + action.args,
        inputs = depset(made, transitive = [action.inputs]),
        outputs = [report],
        env = action.env,
        execution_requirements = requirements,
        mnemonic = "SvhReplay",
        progress_message = "Comparing SVHs of %{label}",
        toolchain = _TOOLCHAIN,
    )

    judge = ctx.actions.args()
    judge.add("replay-verdict")
    judge.add(report)
    judge.add(verdict)
    ctx.actions.run(
        executable = ctx.executable._svhcheck,
        arguments = [judge],
        inputs = [report],
        outputs = [verdict],
        execution_requirements = requirements,
        mnemonic = "SvhVerdict",
        progress_message = "Judging SVHs of %{label}",
        toolchain = _TOOLCHAIN,
    )
    return report, verdict

def _svhcheck_impl(target, ctx):
    reports = []
    verdicts = []
    for number, action in enumerate(target.actions):
        if action.mnemonic != "Rustc":
            continue
        made = [own for own in action.outputs.to_list() if own.extension in _LIBRARIES]
        if made:
            report, verdict = _check(target, ctx, number, action, made)
            reports.append(report)
            verdicts.append(verdict)

    below = [own[SvhInfo] for own in _dependencies(ctx) if SvhInfo in own]
    info = SvhInfo(
        reports = depset(reports, transitive = [own.reports for own in below]),
        verdicts = depset(verdicts, transitive = [own.verdicts for own in below]),
    )
    return [
        info,
        OutputGroupInfo(svh_reports = info.reports, _validation = info.verdicts),
    ]

svhcheck = aspect(
    implementation = _svhcheck_impl,
    attr_aspects = ["*"],
    attrs = {
        "_svhcheck": attr.label(
            default = Label(":svhcheck"),
            allow_single_file = True,
            cfg = "exec",
            executable = True,
        ),
    },
    # Actions go to the platform that rustc goes to.
    toolchains = [config_common.toolchain_type(_TOOLCHAIN, mandatory = False)],
    doc = "Compares the SVHs of every Rust crate under several ways to make it.",
)
