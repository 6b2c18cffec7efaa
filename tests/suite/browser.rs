//! Headless Chromium, driven over a pipe by the Chrome `DevTools` Protocol
//! (`--remote-debugging-pipe`: JSON messages that end in a NUL byte, on descriptors 3 and 4).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// Longest wait for an answer; a page of thousands of crates takes a second on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether there is a Chromium.
pub(crate) fn there() -> bool {
    let version = Command::new("chromium").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// A browser with one tab. Gone with the value.
pub(crate) struct Browser {
    process: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Value,
    last: u64,
    /// Everything that the page did unasked: messages, exceptions, requests.
    pub(crate) events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// A browser that shows nothing yet.
    pub(crate) fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        // The pipe is on standard input and output, which the shell puts where Chromium looks. It
        // runs as root in CI, where it has no sandbox; the page is ours.
        let script = "exec chromium --headless --no-sandbox --disable-gpu --disable-quic \
            --no-first-run --disable-background-networking --disable-component-update \
            --disable-sync --disable-dev-shm-usage --hide-scrollbars --remote-debugging-pipe \
            --user-data-dir=\"$0\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut process = Command::new("sh")
            .args(["-c", script])
            .arg(profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let (sender, from) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).unwrap();
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut own = Self {
            process,
            to,
            from,
            session: Value::Null,
            last: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let target = own.call("Target.createTarget", &json!({ "url": "about:blank" }));
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        own.session = own.call("Target.attachToTarget", &target)["sessionId"].take();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            own.call(&format!("{domain}.enable"), &json!({}));
        }
        own
    }

    /// Calls a method and returns its answer. What comes before it is kept in `events`.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params });
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.to.write_all(message.to_string().as_bytes()).unwrap();
        self.to.write_all(&[0]).unwrap();
        self.to.flush().unwrap();
        loop {
            let mut answer = self.next(method);
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer:#}");
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }

    fn next(&mut self, wanted: &str) -> Value {
        let message = self.from.recv_timeout(PATIENCE);
        message.unwrap_or_else(|error| panic!("Chromium and {wanted}: {error}"))
    }

    /// Shows a file and waits until it is loaded.
    pub(crate) fn open(&mut self, path: &Path) {
        self.events.clear();
        let url = format!("file://{}", path.to_str().unwrap());
        let answer = self.call("Page.navigate", &json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{answer}");
        let is_loaded = |own: &Value| own["method"] == "Page.loadEventFired";
        while !self.events.iter().any(is_loaded) {
            let event = self.next("the page");
            self.events.push(event);
        }
    }

    /// The value of an expression in the page.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", &params);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer:#}"
        );
        answer["result"]["value"].take()
    }

    /// Presses keys that have names: `Tab`, `Enter`; one character is typed.
    pub(crate) fn press(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            "Tab" => "",
            other => other,
        };
        let code = match key {
            "Enter" => 13,
            "Tab" => 9,
            " " => 32,
            _ => 0,
        };
        let mut params = json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": code });
        if !text.is_empty() {
            params["text"] = text.into();
        }
        self.call("Input.dispatchKeyEvent", &params);
        params["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", &params);
    }

    /// Sets the window's size, and whether the system is dark.
    pub(crate) fn look(&mut self, width: u32, height: u32, dark: bool) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", &media);
    }

    /// Keeps a picture of the window where `SVHCHECK_SHOTS` names a folder, for people to look at.
    pub(crate) fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("SVHCHECK_SHOTS") else {
            return;
        };
        let answer = self.call("Page.captureScreenshot", &json!({ "format": "png" }));
        let data = answer["data"].as_str().unwrap();
        let engine = base64::engine::general_purpose::STANDARD;
        let picture = base64::Engine::decode(&engine, data).unwrap();
        fs::write(Path::new(&folder).join(format!("{name}.png")), picture).unwrap();
    }

    /// What the console, an exception or the page's policy complained of.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let methods = [
            "Runtime.consoleAPICalled",
            "Runtime.exceptionThrown",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        ];
        let bad = self
            .events
            .iter()
            .filter(|own| methods.iter().any(|name| own["method"] == *name));
        bad.map(ToString::to_string).collect()
    }

    /// Addresses that the page asked for.
    pub(crate) fn requests(&self) -> Vec<&str> {
        let requests = self
            .events
            .iter()
            .filter(|own| own["method"] == "Network.requestWillBeSent");
        requests
            .map(|own| own["params"]["request"]["url"].as_str().unwrap())
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its helpers end with it; killed alone, it would leave them for a moment.
        let close = json!({ "id": self.last + 1, "method": "Browser.close" }).to_string();
        let _ = self.to.write_all(close.as_bytes());
        let _ = self.to.write_all(&[0]);
        let _ = self.to.flush();
        for _ in 0..100 {
            if matches!(self.process.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
