"""`snakemake --reporter ro-crate`: a finished study as a Provenance Run Crate, which is a Workflow Run RO-Crate.

The working directory is the crate: study file, rules, modules and results lie there already, and ro-crate-metadata.json
says which job made which file from which, by which command and when.

Snakemake finds a reporter by the name of its package on Python's path: PYTHONPATH=workflow/plugins.
"""

import zipfile
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_report_plugins.reporter import ReporterBase
from snakemake_interface_report_plugins.settings import ReportSettingsBase

from nearsight.files import write_json, write_whole
from snakemake_report_plugin_ro_crate.metadata import METADATA, Job, Run, crate_files, crate_metadata


@dataclass
class ReportSettings(ReportSettingsBase):
    """Options of Snakemake's command line: --report-ro-crate-license, --report-ro-crate-archive."""

    license: str = field(
        default="https://spdx.org/licenses/BSD-3-Clause",
        metadata={"help": "Licence of the crate: an address."},
    )
    archive: Path | None = field(
        default=None,
        metadata={"help": "ZIP file to write, with the metadata and all files that they name.", "type": Path},
    )


class Reporter(ReporterBase):
    """Takes from Snakemake which jobs made the files of a study."""

    def render(self) -> None:
        """Write ro-crate-metadata.json into the working directory, and the archive if one was asked for.

        Raises WorkflowError unless the study is finished and lies in the working directory.
        """
        jobs = self._jobs()
        rule = self.jobs[0].job.rule
        workflow = Path(rule.workflow.main_snakefile)
        if not workflow.is_relative_to(Path.cwd()):
            raise WorkflowError(
                f"--reporter ro-crate: expected {workflow} in the working directory, which is the crate, got "
                f"{Path.cwd()}. Run Snakemake in the checkout's folder."
            )
        run = Run(
            study=rule.module_globals["STUDY"].study,
            study_file=rule.module_globals["STUDY_FILES"][0],
            workflow=str(workflow),
            snakemake_version=version("snakemake"),
            jobs=jobs,
            license=self.settings.license,
        )
        write_json(METADATA, crate_metadata(run))
        if self.settings.archive is not None:
            with (
                write_whole(self.settings.archive) as path,
                zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            ):
                for name in [METADATA, *crate_files(run)]:
                    archive.write(name)

    def _jobs(self) -> list[Job]:
        """The finished jobs in the order of their begin. Raises WorkflowError where one would run now or has no record.

        Commands are those of the present study: they did not make the files of a study that was changed since.
        """
        recorded = {path for record in self.jobs for path in record.output}
        jobs = [job for level in self.dag.toposorted() for job in level if job.output]
        missing = [job for job in jobs if self.dag.needrun(job) or recorded.isdisjoint(job.output)]
        if missing:
            names = ", ".join(sorted({job.rule.name for job in missing}))
            raise WorkflowError(
                f"--reporter ro-crate: expected a finished study, found {len(missing)} of {len(jobs)} jobs to run or "
                f"without a record by Snakemake: {names}. Run the same command without --reporter; "
                "`snakemake --dry-run` says why a job would run."
            )
        jobs = [
            Job(
                rule=record.job.rule.name,
                description=record.job.rule.docstring or "",
                snakefile=str(record.job.rule.snakefile),
                command=record.job.shellcmd or "",
                inputs=sorted(map(str, record.job.input)),
                outputs=sorted(map(str, record.job.output)),
                begin=record.starttime,
                end=record.endtime,
            )
            for record in self.jobs
        ]
        return sorted(jobs, key=lambda job: (job.begin, job.end, job.outputs))
