"""Calibration: from images of a calibrant to the exact geometry of the detector."""

from midas.calibration.calibrate import calibrate
from midas.calibration.joint_result import JointCalibration
from midas.calibration.options import CalibrationParams
from midas.calibration.result import Calibration, RingSummary

__all__ = ["Calibration", "CalibrationParams", "JointCalibration", "RingSummary", "calibrate"]
