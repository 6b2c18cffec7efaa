//! Sandboxes: hostile programs reach nothing, and nothing is left of them.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use svhcheck::sandbox::{Mechanism, Sandbox};
use svhcheck::trace::{Access, Cut, Status};

use crate::sandbox::{Ground, public_svhcheck, sandbox};
use crate::support::{require, scrubbed};
use crate::trace::compile_c;

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").unwrap()
}

/// How many processes were started as `program`. By their arguments, since nobody but root may ask
/// what a keeper executes.
fn running(program: &Path) -> usize {
    let started = |entry: fs::DirEntry| {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        words.split(|&byte| byte == 0).next() == Some(program.as_os_str().as_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.map(started).filter(|found| *found).count()
}

/// Has the hostile program try everything; returns its attempts and the program.
fn reach_out(test: &str, mechanism: Mechanism) -> Option<BTreeMap<String, String>> {
    let ground = Ground::new();
    let program = compile_c(test, "hostile", &ground.at("src"))?;
    let sandbox = sandbox(test, mechanism, &ground.policy())?;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let (home, secret) = (ground.at("home"), ground.at("secret"));
    let own = std::process::id().to_string();
    let before = mounts();
    let words = [
        home.to_str().unwrap(),
        secret.to_str().unwrap(),
        &port,
        &own,
    ];
    let words = ["reach-out", words[0], words[1], words[2], words[3]];
    let trace = ground.run(&sandbox, &program, &words);
    assert_eq!(trace.status, Status::Exited(0));
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
    assert!(!Path::new("/usr/evil").exists());
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "nobody came through");
    assert_eq!(mounts(), before);
    assert_eq!(running(&program), 0);
    // The attempt to connect is in the record though it failed.
    let connects = |event: &svhcheck::trace::Event| matches!(event.access, Access::Connect { .. });
    assert!(trace.events.iter().any(connects));
    let attempts = ground.attempts();
    ground.folder.close().unwrap();
    Some(attempts)
}

#[test]
fn name_spaces_let_nothing_out() {
    let test = "name_spaces_let_nothing_out";
    let Some(attempts) = reach_out(test, Mechanism::Namespaces) else {
        return;
    };
    assert_eq!(attempts.len(), 19, "{attempts:?}");
    let succeeded: Vec<_> = attempts
        .iter()
        .filter(|(_, result)| *result == "OK")
        .collect();
    assert!(succeeded.is_empty(), "{succeeded:?}");
    for (name, errno) in [
        ("write-home", "ENOENT"),
        ("write-system", "EROFS"),
        ("read-secret", "ENOENT"),
        ("secret-upwards", "ENOENT"),
        ("tcp", "ENETUNREACH"),
        ("kill-svhcheck", "ESRCH"),
        ("ptrace-svhcheck", "ESRCH"),
    ] {
        assert_eq!(attempts[name], errno, "{name}");
    }
}

#[test]
fn landlock_lets_out_only_what_it_says() {
    let test = "landlock_lets_out_only_what_it_says";
    let lacks = Mechanism::Landlock.lacks().unwrap();
    if !require(test, "Landlock of Linux 6.12", !lacks.contains("signals")) {
        return;
    }
    let Some(attempts) = reach_out(test, Mechanism::Landlock) else {
        return;
    };
    assert_eq!(attempts.len(), 19, "{attempts:?}");
    // In name spaces of its own making the program has capabilities over nothing but these.
    let allowed = ["udp", "user-namespace", "mount-namespace", "chroot"];
    for (name, result) in &attempts {
        assert!(
            result != "OK" || allowed.contains(&&**name),
            "{name}: {result}"
        );
    }
    for name in ["write-home", "read-secret", "secret-upwards", "tcp"] {
        assert_eq!(attempts[name], "EACCES", "{name}");
    }
}

#[test]
fn killing_stays_within() {
    let test = "killing_stays_within";
    let ground = Ground::new();
    let Some(program) = compile_c(test, "hostile", &ground.at("src")) else {
        return;
    };
    let policy = ground.policy();
    let Some(spaces) = sandbox(test, Mechanism::Namespaces, &policy) else {
        return;
    };
    // The whole process group, and everybody it may: but this test goes on.
    for word in ["kill-group", "kill-all"] {
        let trace = ground.run(&spaces, &program, &[word]);
        assert_eq!(trace.status, Status::Signaled(9), "{word}");
    }
    // It is not the first process of its name space, whose abort would not end it.
    let trace = ground.run(&spaces, &program, &["abort"]);
    assert_eq!(trace.status, Status::Signaled(6));
    if let Some(landlock) = sandbox(test, Mechanism::Landlock, &policy) {
        let trace = ground.run(&landlock, &program, &["kill-group"]);
        assert_eq!(trace.status, Status::Signaled(9));
    }
}

#[test]
fn bombs_and_hangs_end_with_the_run() {
    let test = "bombs_and_hangs_end_with_the_run";
    for mechanism in [Mechanism::Namespaces, Mechanism::Landlock] {
        let ground = Ground::new();
        let Some(program) = compile_c(test, "hostile", &ground.at("src")) else {
            return;
        };
        let mut policy = ground.policy();
        policy.limits.processes = Some(310);
        let Some(sandbox) = sandbox(test, mechanism, &policy) else {
            continue;
        };
        let before = mounts();
        let trace = ground
            .command(&sandbox, &program, &["hang"])
            .timeout(Duration::from_millis(500))
            .run()
            .unwrap();
        assert_eq!(trace.stopped, Some(Cut::Timeout), "{mechanism}");
        assert_eq!(trace.processes.len(), 3, "{mechanism}: with the daemon");

        if mechanism == Mechanism::Namespaces {
            let trace = ground
                .command(&sandbox, &program, &["bomb"])
                .timeout(Duration::from_secs(5))
                .run()
                .unwrap();
            assert_eq!(trace.stopped, Some(Cut::Timeout));
            // As root only the name space's own `pid_max` counts (Linux 6.14).
            if !nix::unistd::geteuid().is_root() || linux_is_at_least(6, 14) {
                let made: usize = ground.attempts()["bomb"].parse().unwrap();
                assert!((250..310).contains(&made), "{made} processes were made");
            }
        }
        let trace = ground
            .command(&sandbox, &program, &["bomb"])
            .max_processes(100)
            .run()
            .unwrap();
        assert_eq!(trace.stopped, Some(Cut::Processes), "{mechanism}");
        assert_eq!(running(&program), 0, "{mechanism}");
        assert_eq!(mounts(), before);
    }
}

fn linux_is_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || {
        numbers
            .next()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0)
    };
    (next(), next()) >= (major, minor)
}

#[test]
fn disks_are_not_filled() {
    let test = "disks_are_not_filled";
    let ground = Ground::new();
    let Some(program) = compile_c(test, "hostile", &ground.at("src")) else {
        return;
    };
    let mut policy = ground.policy();
    policy.limits.file_size = Some(3 << 20);
    policy.limits.tmp_size = Some(2 << 20);
    for mechanism in [Mechanism::Namespaces, Mechanism::Landlock] {
        let Some(sandbox) = sandbox(test, mechanism, &policy) else {
            continue;
        };
        let trace = ground.run(&sandbox, &program, &["fill", "big", "64"]);
        let end = Status::Signaled(nix::libc::SIGXFSZ);
        assert_eq!(trace.status, end, "{mechanism}");
        let file = ground.at("out/big");
        assert_eq!(fs::metadata(&file).unwrap().len(), 3 << 20);
        fs::remove_file(file).unwrap();
        if mechanism == Mechanism::Namespaces {
            ground.run(&sandbox, &program, &["fill", "/tmp/big", "64"]);
            assert_eq!(ground.attempts()["fill"], "ENOSPC");
        }
    }
    // Many small files.
    policy.limits.disk = Some(10 << 20);
    let sandbox = Sandbox::prepare(Mechanism::None, &policy).unwrap();
    let session = ground
        .command(&sandbox, &program, &["litter"])
        .spawn()
        .unwrap();
    let killer = session.killer();
    let watch = sandbox.watch_disk(move || killer.kill()).unwrap();
    assert_eq!(session.wait().unwrap().stopped, Some(Cut::Killed));
    assert!(watch.exceeded());
}

#[test]
fn kill_9_of_svhcheck_leaves_nothing_in_the_sandbox() {
    let test = "kill_9_of_svhcheck_leaves_nothing_in_the_sandbox";
    let ground = Ground::new();
    let Some(program) = compile_c(test, "hostile", &ground.at("src")) else {
        return;
    };
    if sandbox(test, Mechanism::Namespaces, &ground.policy()).is_none() {
        return;
    }
    let own = public_svhcheck(&ground);
    let mut child = scrubbed(&own)
        .args([
            "trace",
            "-o",
            "/dev/null",
            "--sandbox",
            "namespaces",
            "--read",
        ])
        .arg(ground.at("src"))
        .arg("--")
        .arg(&program)
        .arg("hang")
        .current_dir(ground.at("src"))
        .spawn()
        .unwrap();
    let wait = |what: &str, there: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !there() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    wait("the tree did not start", &|| running(&program) >= 2);
    let own_processes = running(&own);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(own_processes, 2, "svhcheck and the keeper");
    wait("a process was left", &|| {
        running(&program) + running(&own) == 0
    });
}
