"""The chapters on the model's origin and on the checks of the model itself."""

from __future__ import annotations

from mlprod_tasks.declaration.gate import CheckedGate
from mlprod_tasks.documents import Block, NotMade, Paragraph, Section
from mlprod_tasks.documents.formatting import number, window
from mlprod_tasks.documents.mail_content import Grid
from mlprod_tasks.reporting.report_context import ReportContext
from mlprod_tasks.reporting.split_words import caveat
from mlprod_tasks.reporting.task_words import window_cell
from mlprod_tasks.training.split import TEST, TRAIN, VALIDATION

UNKNOWN = "not known"
NOT_WANTED = "No declared gate needs any."


def checks(context: ReportContext) -> Section:
    """The results of all checks of the model itself."""
    report = context.results.checks
    wanted = any(isinstance(gate, CheckedGate) for gate in context.pipeline.gates)
    if report is None:
        why = "There is no result: run the step run_checks." if wanted else NOT_WANTED
        return Section("checks", "Checks of the model", (NotMade("checks of the model itself", why),))
    if not report.results:
        return Section("checks", "Checks of the model", (NotMade("checks of the model itself", NOT_WANTED),))
    blocks: list[Block] = []
    if report.model_digest != context.digest:
        sentence = f"These checks are of another model: {report.model_digest[:12]}, not {context.digest[:12]}."
        blocks.append(Paragraph(sentence, "bad"))
    rows = tuple((one.check, one.subject, number(one.value), f"{one.n:,}", one.sentence) for one in report.results)
    impossible = frozenset(i for i, one in enumerate(report.results) if one.value is None)
    blocks.append(Grid("", ("check", "about", "value", "n", "what it showed"), rows, impossible))
    return Section("checks", "Checks of the model", tuple(blocks))


def origin(context: ReportContext) -> Section:
    """Windows, data versions and code: what is needed to make the model again."""
    assembled = context.assembled
    less = caveat(assembled)
    windows = tuple(
        (
            name,
            window(ticks),
            f"{assembled.rows[name]:,}",
            window_cell(assembled, name),
            f"{assembled.unlabelled[name]:,}",
            f"{assembled.unusable[name]:,}",
        )
        for name in (TRAIN, VALIDATION, TEST)
        for ticks in (assembled.windows[name],)
    )
    tables = tuple((table, str(version)) for table, version in sorted(assembled.versions.items()))
    return Section(
        "origin",
        "Where it comes from",
        (
            *(() if less is None else (Paragraph(less),)),
            Grid("Windows", ("window", "ticks", "rows", context.words.outcomes, "without outcome", "not usable"), windows),
            Grid("Data", ("table", "version in the lake"), tables),
            Grid("Code", ("", ""), made_by(context)),
        ),
    )


def made_by(context: ReportContext) -> tuple[tuple[str, str], ...]:
    """The ids and digests of the training, model, declaration and code."""
    by = context.made_by
    return (
        ("training", context.folder.training_id),
        ("MLflow run", context.run_id),
        ("model files, SHA-256", context.digest),
        ("declaration, SHA-256", context.assembled.declaration),
        ("git commit", by.git_commit or UNKNOWN),
        ("code, SHA-256", by.code_digest or UNKNOWN),
        ("lock of packages, SHA-256", by.lock_digest or UNKNOWN),
    )
