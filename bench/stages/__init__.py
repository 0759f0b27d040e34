"""The list of referrals, cut short after each stage of its making: for the waterfall."""
