//! The HTML report in a browser: it opens without a complaint, filters, sorts, can be used by
//! keyboard, by a screen reader and without JavaScript, and no text in it comes to life.
//!
//! With `SVHCHECK_SHOTS=FOLDER`, pictures are kept for people to look at.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use svhcheck::report::format::Format;
use svhcheck::report::human::Detail;

use crate::browser::{self, Browser};
use crate::{reports, support};

/// A report as a page in a folder of its own.
struct Page {
    folder: tempfile::TempDir,
}

impl Page {
    fn of(report: &Value) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let html = Format::Html.render(&reports::read(report), Detail::Normal);
        fs::write(folder.path().join("report.html"), html).unwrap();
        Self { folder }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("report.html")
    }
}

/// A browser, unless this machine has none and need not.
fn browser(test: &str) -> Option<Browser> {
    support::require(test, "chromium", browser::there()).then(Browser::start)
}

fn assert_quiet(browser: &Browser, page: &Page) {
    assert_eq!(browser.complaints(), [] as [String; 0]);
    let own = format!("file://{}", page.path().to_str().unwrap());
    assert_eq!(browser.requests(), [own], "nothing else is loaded");
}

/// Ids of the rows that are to be seen.
const SHOWN: &str = "Array.from(document.querySelectorAll('#verdicts tbody tr')).filter(row => row.getClientRects().length).map(row => row.cells[0].firstChild.textContent.trim())";

#[test]
fn the_report_opens_filters_and_sorts() {
    let Some(mut browser) = browser("the_report_opens_filters_and_sorts") else {
        return;
    };
    let page = Page::of(&reports::example());
    browser.look(1280, 1000, false);
    browser.open(&page.path());
    assert_eq!(
        browser.eval("document.querySelector('h1').textContent"),
        "1 of 6 crates is to blame"
    );
    let all = browser.eval(SHOWN);
    assert_eq!(all[0], "//commands:commands", "the worst first");
    assert_eq!(all[1], "//server:server");
    assert_eq!(all.as_array().unwrap().len(), 6);
    browser.picture("light");

    // By keyboard: a slash leads to the search.
    browser.press("/");
    for key in ["u", "n", "i", "t"] {
        browser.press(key);
    }
    assert_eq!(browser.eval(SHOWN), json!(["//units:units"]));
    assert_eq!(
        browser.eval("document.getElementById('shown').textContent"),
        "1 of 6 crates"
    );
    browser.eval("const q = document.getElementById('query'); q.value = ''; q.dispatchEvent(new Event('input', { bubbles: true }))");
    browser.press("Tab");
    assert_eq!(
        browser.eval("document.activeElement.id"),
        "show-nondeterministic"
    );
    browser.press(" ");
    assert_eq!(browser.eval(SHOWN)[0], "//server:server");
    assert_eq!(
        browser.eval("document.getElementById('shown').textContent"),
        "5 of 6 crates"
    );
    browser.press(" ");

    let sort = |column: u32| {
        format!(
            "document.querySelectorAll('#verdicts thead th')[{column}].querySelector('button').click()"
        )
    };
    browser.eval(&sort(0));
    let by_name = browser.eval(SHOWN);
    let names: Vec<&str> = by_name
        .as_array()
        .unwrap()
        .iter()
        .map(|own| own.as_str().unwrap())
        .collect();
    assert!(names.is_sorted(), "{names:?}");
    let sorted = "Array.from(document.querySelectorAll('#verdicts thead th')).map(own => own.getAttribute('aria-sort'))";
    assert_eq!(browser.eval(sorted)[0], "ascending");
    assert_eq!(browser.eval(sorted)[1], Value::Null);
    browser.eval(&sort(3));
    assert_eq!(browser.eval(sorted)[3], "descending");
    assert_eq!(
        browser.eval(SHOWN)[0],
        "//commands-macro:commands_macro",
        "all are safe under pipelined"
    );
    browser.eval(&sort(2));
    assert_eq!(browser.eval(SHOWN)[0], "//commands:commands");

    // A link to a folded part opens it.
    browser.eval("document.querySelector('.spread').open = false; location.hash = '#spread-1'");
    assert_eq!(browser.eval("new Promise(done => setTimeout(() => done(document.querySelector('.spread').open), 50))"), true);
    assert_quiet(&browser, &page);
}

#[test]
fn it_is_dark_where_the_system_is_and_where_the_reader_wants_it() {
    let Some(mut browser) = browser("it_is_dark_where_the_system_is_and_where_the_reader_wants_it")
    else {
        return;
    };
    let page = Page::of(&reports::example());
    let background = "getComputedStyle(document.body).backgroundColor";
    browser.look(1280, 1000, false);
    browser.open(&page.path());
    let light = browser.eval(background);
    browser.look(1280, 1000, true);
    let dark = browser.eval(background);
    assert_ne!(light, dark);
    browser.picture("dark");
    let press = "document.getElementById('theme').click()";
    browser.eval(press);
    assert_eq!(
        browser.eval("document.getElementById('theme').textContent"),
        "Theme: light"
    );
    assert_eq!(
        browser.eval(background),
        light,
        "the reader's choice is above the system's"
    );
    browser.look(1280, 1000, false);
    browser.eval(press);
    assert_eq!(browser.eval(background), dark);
    // Text and what it stands on differ enough (WCAG 2.2, 1.4.3: 4.5 to 1).
    for dark in [false, true] {
        browser.eval(if dark {
            "document.documentElement.dataset.theme = 'dark'"
        } else {
            "document.documentElement.dataset.theme = 'light'"
        });
        let weak = browser.eval(CONTRAST);
        assert_eq!(weak, json!([]), "dark: {dark}");
    }

    // On a narrow screen nothing but the tables is wider than the window.
    // From dark, where the button stands, on to the system's.
    browser.eval(press);
    assert_eq!(
        browser.eval("document.documentElement.dataset.theme"),
        "system"
    );
    browser.look(390, 1400, false);
    assert_eq!(browser.eval("document.documentElement.scrollWidth"), 390);
    browser.picture("narrow");
    assert_quiet(&browser, &page);
}

/// Texts with less contrast than they must have.
const CONTRAST: &str = "(() => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data;
    };
    const light = (data) => [0.2126, 0.7152, 0.0722].reduce((sum, weight, at) => {
        const part = data[at] / 255;
        return sum + weight * (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    }, 0);
    const behind = (own) => {
        for (; own; own = own.parentElement) {
            const data = rgba(getComputedStyle(own).backgroundColor);
            if (data[3] === 255) return data;
        }
        return [255, 255, 255, 255];
    };
    const weak = [];
    for (const own of document.querySelectorAll('body *')) {
        const text = Array.from(own.childNodes).some((node) => node.nodeType === 3 && node.data.trim());
        if (!text || !own.getClientRects().length || own.closest('svg, .hidden, .skip')) continue;
        const [a, b] = [light(rgba(getComputedStyle(own).color)), light(behind(own))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio < 4.5) weak.push(`${own.className || own.tagName}: ${ratio.toFixed(2)}`);
    }
    return Array.from(new Set(weak));
})()";

#[test]
fn it_is_all_there_without_javascript() {
    let Some(mut browser) = browser("it_is_all_there_without_javascript") else {
        return;
    };
    let page = Page::of(&reports::example());
    browser.call(
        "Emulation.setScriptExecutionDisabled",
        &json!({ "value": true }),
    );
    browser.look(1280, 1000, false);
    browser.open(&page.path());
    assert_eq!(browser.eval(SHOWN).as_array().unwrap().len(), 6);
    // What only a script could do is not offered.
    let offered = "[...document.querySelectorAll('button, #query')].filter(own => own.getClientRects().length).length";
    assert_eq!(browser.eval(offered), 0);
    // Verdicts are hidden by style alone.
    browser.eval("document.getElementById('show-safe').click()");
    assert_eq!(
        browser.eval(SHOWN),
        json!(["//commands:commands", "//server:server"])
    );
    browser.eval("document.querySelector('.finding .more:nth-of-type(2) > summary')?.click()");
    assert_quiet(&browser, &page);
}

#[test]
fn a_screen_reader_is_told_what_the_eye_sees() {
    let Some(mut browser) = browser("a_screen_reader_is_told_what_the_eye_sees") else {
        return;
    };
    let page = Page::of(&reports::example());
    browser.open(&page.path());
    let tree = browser.call("Accessibility.getFullAXTree", &json!({}));
    let nodes = tree["nodes"].as_array().unwrap();
    let named = |role: &str| -> Vec<&str> {
        let own = nodes
            .iter()
            .filter(|node| node["role"]["value"] == role && node["ignored"] == false);
        own.map(|node| node["name"]["value"].as_str().unwrap_or_default())
            .collect()
    };
    assert!(named("table").contains(&"Every judged crate under each strategy, worst first"));
    assert!(named("columnheader").contains(&"hollow"));
    assert!(
        named("rowheader")
            .iter()
            .any(|own| own.starts_with("//units:units"))
    );
    for landmark in ["banner", "navigation", "main"] {
        assert_eq!(named(landmark).len(), 1, "{landmark}");
    }
    assert!(named("searchbox").contains(&"Find a crate"));
    assert!(
        named("checkbox")
            .iter()
            .any(|own| own.starts_with("infected"))
    );
    for role in [
        "button",
        "link",
        "checkbox",
        "region",
        "image",
        "DisclosureTriangle",
    ] {
        assert!(
            named(role).iter().all(|name| !name.is_empty()),
            "a {role} without a name"
        );
    }
    // The signs before verdicts are for the eye alone.
    assert!(
        named("cell").contains(&"nondeterministic"),
        "{:?}",
        named("cell")
    );
    let ids = "(() => { const ids = [...document.querySelectorAll('[id]')].map(own => own.id); return ids.length - new Set(ids).size })()";
    assert_eq!(browser.eval(ids), 0, "no id twice");
    let levels = "[...document.querySelectorAll('h1,h2,h3,h4')].map(own => +own.tagName[1])";
    let levels = browser.eval(levels);
    let levels: Vec<u64> = levels
        .as_array()
        .unwrap()
        .iter()
        .map(|own| own.as_u64().unwrap())
        .collect();
    assert!(
        levels.windows(2).all(|pair| pair[1] <= pair[0] + 1),
        "no heading skips a level: {levels:?}"
    );
    assert_quiet(&browser, &page);
}

#[test]
fn no_name_comes_to_life() {
    let Some(mut browser) = browser("no_name_comes_to_life") else {
        return;
    };
    let page = Page::of(&reports::hostile());
    browser.look(1280, 1000, false);
    browser.open(&page.path());
    let alive = "[document.scripts.length, document.styleSheets.length, document.images.length, document.querySelectorAll('evil, iframe, object, base, form[action]').length, [...document.querySelectorAll('*')].filter(own => [...own.attributes].some(attribute => attribute.name.startsWith('on'))).length]";
    assert_eq!(browser.eval(alive), json!([1, 1, 0, 0, 0]));
    assert_eq!(
        browser.eval("document.querySelectorAll('#verdicts tbody tr').length"),
        6
    );
    let text = browser.eval("document.querySelector('#verdicts tbody th').textContent");
    let text = text.as_str().unwrap();
    assert!(
        text.contains("<script>harm()</script>"),
        "it is shown as it is: {text}"
    );
    assert!(
        text.contains("\\x1b[31m") && !text.contains('\u{1b}'),
        "{text}"
    );
    assert_eq!(
        browser.eval("document.documentElement.scrollWidth"),
        1280,
        "and spoils no layout"
    );
    browser.picture("hostile");
    assert_quiet(&browser, &page);

    // Were a wall to fall, the page's own policy would still stand: a script that gets in is not run.
    let html = fs::read_to_string(page.path()).unwrap();
    let planted = html.replace("</main>", "<script>document.title = 'harmed'</script><img src=x onerror=\"document.title = 'harmed'\"></main>");
    assert_ne!(html, planted);
    fs::write(page.path(), planted).unwrap();
    browser.open(&page.path());
    let title = browser.eval("new Promise(done => setTimeout(() => done(document.title), 100))");
    assert!(title.as_str().unwrap().starts_with("svhcheck: "), "{title}");
    let refused = browser.complaints();
    assert!(
        refused
            .iter()
            .all(|own| own.contains("Content Security Policy")),
        "{refused:#?}"
    );
    assert!(refused.len() >= 2, "{refused:#?}");
}

#[test]
fn two_thousand_crates_are_no_burden() {
    let Some(mut browser) = browser("two_thousand_crates_are_no_burden") else {
        return;
    };
    let page = Page::of(&reports::large(2000));
    browser.look(1280, 1000, false);
    browser.open(&page.path());
    assert_eq!(browser.eval(SHOWN).as_array().unwrap().len(), 2000);
    browser.picture("2000-crates");
    browser.eval("document.getElementById('matrix').scrollIntoView()");
    browser.eval("new Promise(done => setTimeout(done, 800))");
    browser.picture("2000-crates-matrix");
    browser.eval("document.getElementById('spread').scrollIntoView()");
    browser.eval("document.querySelector('.spread').open = true");
    browser.eval("new Promise(done => setTimeout(done, 800))");
    browser.picture("2000-crates-spread");
    // Tests assert no times; these are for who looks.
    let timed = |what: &str| {
        format!(
            "(() => {{ const before = performance.now(); {what}; document.body.offsetHeight; return performance.now() - before }})()"
        )
    };
    let query = "const q = document.getElementById('query'); q.value = 'hyper'; q.dispatchEvent(new Event('input', { bubbles: true }))";
    let filter = browser.eval(&timed(query));
    assert!(browser.eval(SHOWN).as_array().unwrap().len() < 400);
    let sort = browser.eval(&timed(
        "document.querySelector('#verdicts thead button').click()",
    ));
    let tick = browser.eval(&timed("document.getElementById('show-safe').click()"));
    let load = browser.eval("(() => { const own = performance.getEntriesByType('navigation')[0]; return own.loadEventEnd - own.responseEnd })()");
    let size = fs::metadata(page.path()).unwrap().len();
    eprintln!(
        "2,000 crates: {size} bytes, loaded in {load} ms, filter {filter} ms, sort {sort} ms, tick {tick} ms"
    );
    assert_quiet(&browser, &page);
}
