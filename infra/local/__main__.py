"""`python -m infra.local serve --state DIR`: the stand-in cloud in the foreground."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from datetime import date
from pathlib import Path

from images.errors import BuildError, CancelledError
from infra.local.azurite import Azurite
from infra.local.disks.foreign_tools import require_tools
from infra.local.faults import FaultPlan, load_plan
from infra.local.latency import LatencyProfile, load_latency
from infra.local.ownership import owned


def main() -> int:
    """The exit code: 0 after an orderly end, else that of the error's class."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description="The stand-in cloud: Azure's interfaces on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("serve", help="run until SIGTERM or Ctrl-C; DIR/standin.json appears when it is ready")
    command.add_argument("--state", type=Path, default=Path(".winvhd/local"), metavar="DIR", help="folder of all state (%(default)s)")
    command.add_argument("--faults", type=Path, metavar="FILE", help="fault plan, JSON")
    command.add_argument("--latency", type=Path, metavar="FILE", help="latency profile, YAML or JSON")
    command.add_argument("--until-parent-exits", type=int, default=0, metavar="PID", help="end when this process ends")
    command.add_argument(
        "--date", type=date.fromisoformat, metavar="YYYY-MM-DD", help="pretend this day: updates and images released later are not there"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # Both log each request at INFO, URLs with their signatures included.
    for name in ("azure", "urllib3"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        faults = load_plan(arguments.faults) if arguments.faults else FaultPlan()
        latency = load_latency(arguments.latency) if arguments.latency else LatencyProfile()
        require_tools()
        with owned(arguments.state), contextlib.ExitStack() as closing:
            azurite = Azurite(arguments.state)
            closing.callback(azurite.stop)
            azurite.launch()
            # Imported only now: Node.js starts on one core while Python loads the Azure SDK and the guests on the other.
            from infra.local.serve import ServeOptions, serve

            serve(ServeOptions(arguments.state, faults, latency, arguments.until_parent_exits, arguments.date), azurite)
    except BuildError as error:
        sys.stderr.write(f"{error.title}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        # Ctrl-C while it was still starting; once it serves, Ctrl-C is an orderly end.
        return CancelledError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
