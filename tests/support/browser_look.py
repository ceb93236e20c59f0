"""Look at a page in a browser as people do: at a width, in a colour scheme."""

from typing import Any


def look(browser: Any, address: str, width: int = 1280, scheme: str = "light") -> None:
    """Open a page at a width and colour scheme; it must draw itself without a word in the console."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.get("about:blank")
    browser.get_log("browser")  # what pages of other tests asked for, such as an icon
    browser.get(address)
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 30).until(
        lambda b: b.execute_script(
            "return !document.querySelector('#board[aria-busy]') && !!document.querySelector('.plot svg')"
        )
    )
    assert browser.get_log("browser") == []
