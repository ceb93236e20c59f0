"""The page in Airflow's UI: where it is mounted, and its entry in the navigation."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

ROOT = urlsplit(conf.get("api", "base_url", fallback="")).path.rstrip("/")
PREFIX = "/mlprod"


async def page(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request. The first one loads the page's code: every Airflow process loads plugins, but only one serves."""
    from anyio.to_thread import run_sync

    app = await run_sync(_app)
    await app(scope, receive, send)


def _app() -> Any:
    from mlprod_airflow.page.app import app

    return app


class MlprodPlugin(AirflowPlugin):
    """All pipelines at a glance, in Airflow's navigation."""

    name = "mlprod"
    fastapi_apps: ClassVar[list[Any]] = [{"app": page, "url_prefix": PREFIX, "name": "mlprod"}]
    external_views: ClassVar[list[Any]] = [
        {
            "name": "Models",
            "href": f"{ROOT}{PREFIX}/",
            "url_route": "mlprod",
            "destination": "nav",
            "nav_top_level": True,
            "icon": f"{ROOT}{PREFIX}/frame/light.svg",
            "icon_dark_mode": f"{ROOT}{PREFIX}/frame/dark.svg",
        }
    ]
