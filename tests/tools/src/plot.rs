// SPDX-License-Identifier: GPL-2.0

//! The picture of a run: time and disk reads of each pass, an arm a colour.

use crate::record::{Arm, Pass};
use anyhow::{anyhow, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

const SIZE: (u32, u32) = (900, 420);
const COLOURS: [RGBColor; 3] = [
    RGBColor(170, 60, 50),
    RGBColor(40, 110, 180),
    RGBColor(120, 120, 120),
];
/// Share of a pass's place that its bars fill.
const FILL: f64 = 0.8;

type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the arms as SVG text.
///
/// # Errors
///
/// What the plotting library could not draw.
pub fn draw(arms: &[Arm]) -> Result<String> {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
        let (left, right) = root.split_horizontally(SIZE.0 / 2);
        panel(&left, arms, "seconds a pass", |pass| pass.seconds)?;
        panel(&right, arms, "MiB read from disk a pass", |pass| {
            pass.disk_read_bytes as f64 / 1048576.0
        })?;
        root.present().map_err(|error| anyhow!("{error}"))?;
    }
    Ok(text)
}

fn panel(area: &Panel<'_>, arms: &[Arm], title: &str, of: fn(&Pass) -> f64) -> Result<()> {
    let passes = arms.iter().map(|arm| arm.passes.len()).max().unwrap_or(1);
    let values = arms.iter().flat_map(|arm| &arm.passes).map(of);
    let highest = values.fold(0.0, f64::max).max(0.01) * 1.15;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.5..passes as f64 + 0.5, 0.0..highest)
        .map_err(|error| anyhow!("{error}"))?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(passes)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .x_desc("pass (the first is cold)")
        .draw()
        .map_err(|error| anyhow!("{error}"))?;
    let width = FILL / arms.len() as f64;
    for (index, arm) in arms.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let bars = arm.passes.iter().enumerate().map(|(number, pass)| {
            let left = number as f64 + 1.0 - FILL / 2.0 + index as f64 * width;
            Rectangle::new([(left, 0.0), (left + width, of(pass))], colour.filled())
        });
        chart
            .draw_series(bars)
            .map_err(|error| anyhow!("{error}"))?
            .label(arm.name.clone())
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 14, y + 5)], colour.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(|error| anyhow!("{error}"))
}

#[cfg(test)]
mod tests {
    use crate::report::tests::arms;

    #[test]
    fn the_plot_names_every_arm() -> anyhow::Result<()> {
        let text = super::draw(&arms())?;
        assert!(text.starts_with("<svg"));
        for name in ["none", "zcache", "ram"] {
            assert!(text.contains(name), "{name}");
        }
        Ok(())
    }
}
