"""Write results as JUnit XML, which CI systems read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from hookline.daemon.rule_tests.report import result_lines
from hookline.daemon.rule_tests.result import FileResult, Result

# What XML 1.0 (2.2) cannot hold, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(files: Sequence[FileResult]) -> bytes:
    """Return one document: a suite a file, a case a test; a file that cannot be read is a case with an error."""
    results = [result for file in files for result in file.results]
    broken = [file for file in files if file.errors]
    root = ET.Element(
        "testsuites",
        name="hookline test",
        tests=str(len(results) + len(broken)),
        failures=str(_count(results, "failed")),
        errors=str(_count(results, "error") + len(broken)),
        time=f"{sum(result.duration for result in results):.3f}",
    )
    for file in files:
        root.append(_suite(file))
    ET.indent(root)
    data: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return data


def _suite(file: FileResult) -> ET.Element:
    suite = ET.Element(
        "testsuite",
        name=_clean(file.name),
        tests=str(len(file.results) + bool(file.errors)),
        failures=str(_count(file.results, "failed")),
        errors=str(_count(file.results, "error") + bool(file.errors)),
        skipped="0",
        time=f"{sum(result.duration for result in file.results):.3f}",
    )
    if file.errors:
        case = ET.SubElement(suite, "testcase", classname=_clean(file.name), name="the file can be read", time="0.000")
        error = ET.SubElement(case, "error", type="mistake", message=_clean(str(file.errors[0])))
        error.text = _clean("\n".join(map(str, file.errors)))
    for result in file.results:
        suite.append(_case(result))
    return suite


def _case(result: Result) -> ET.Element:
    place = result.test.place
    case = ET.Element(
        "testcase",
        classname=_clean(place.file),
        name=_clean(result.test.name),
        file=_clean(place.file),
        line=str(place.line),
        time=f"{result.duration:.3f}",
    )
    if result.status in ("failed", "error"):
        lines = [line.strip() for line in result_lines(result)]
        kind = "failure" if result.status == "failed" else "error"
        detail = ET.SubElement(case, kind, type=result.status, message=_clean("; ".join(lines[:2])))
        detail.text = _clean("\n".join(result_lines(result)))
    return case


def _count(results: Sequence[Result], status: str) -> int:
    return sum(result.status == status for result in results)


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
